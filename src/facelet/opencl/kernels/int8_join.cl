// Copies channels of an int8 image into another image at any channel: one channel of one row per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block width start order
//
// IN_BLOCK   channels of a pixel that lie side by side in the input
// PICKED     1: the input's channel is order[channel of the output]; 0: they are in order
STEP(NAME)
{
    UNPACK
    const int c = start + g1;
#if PICKED
    const int source = INTS(order)[g1];
#else
    const int source = g1;
#endif
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + source / IN_BLOCK * in_block + g0 * in_row) + source % IN_BLOCK;
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + c / BLOCK * out_block + g0 * out_row) + c % BLOCK;
    for (int x = 0; x < width; x++) to[x * BLOCK] = from[x * IN_BLOCK];
}
