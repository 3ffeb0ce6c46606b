// Copies an int8 image into one with a border of zeros: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width top left
//
// WORDS   of a pixel
STEP(NAME)
{
    UNPACK
    const int y = g0 - top;
    __global const int *from = (__global const int *)AT(in) + g2 * in_image + g1 * in_block + y * in_row;
    __global int *to = (__global int *)AT(out) + g2 * out_image + g1 * out_block + g0 * out_row;
    const int zeros = (int)0x80808080u;
    const bool inside = y >= 0 && y < in_height;
    const int first = WORDS * (inside ? left : out_width), end = WORDS * (inside ? left + in_width : out_width);
    for (int i = 0; i < first; i++) to[i] = zeros;
    for (int i = first; i < end; i++) to[i] = from[i - first];
    for (int i = end; i < WORDS * out_width; i++) to[i] = zeros;
}
