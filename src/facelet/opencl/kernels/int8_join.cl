// Copies a channel of an int8 image into another image at any channel: one channel of one row per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block width start
STEP(NAME)
{
    UNPACK
    const int c = start + g1;
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + g1 / BLOCK * in_block + g0 * in_row) + g1 % BLOCK;
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + c / BLOCK * out_block + g0 * out_row) + c % BLOCK;
    for (int x = 0; x < width; x++) to[x * BLOCK] = from[x * BLOCK];
}
