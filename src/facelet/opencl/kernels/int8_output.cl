// An int8 image -> plain floats: one channel of one row per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_plane width scale
STEP(NAME)
{
    UNPACK
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + g1 / BLOCK * in_block + g0 * in_row) + g1 % BLOCK;
    __global float *to = AT(out) + g2 * out_image + g1 * out_plane + g0 * out_row;
    for (int x = 0; x < width; x++) to[x] = ((int)from[x * BLOCK] - 128) * as_float(scale);
}
