// The entry of a table for each integer: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block width table
STEP(NAME)
{
    UNPACK
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + g1 * in_block + g0 * in_row);
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 * out_block + g0 * out_row);
    for (int i = 0; i < width * BLOCK; i++) to[i] = INTS(table)[from[i]] + 128;
}
