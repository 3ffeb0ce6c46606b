// An int8 image with every pixel repeated (nearest neighbour): one row of one block of the output per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block width tall wide
STEP(NAME)
{
    UNPACK
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + g1 * in_block + g0 / tall * in_row);
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 * out_block + g0 * out_row);
    for (int x = 0; x < width; x++) {
        const uv pixel = LOAD_BYTES(from + x * BLOCK);
        for (int i = 0; i < wide; i++) STORE_BYTES(to + (x * wide + i) * BLOCK, pixel);
    }
}
