// Copies a blocked image into one with a border of one value: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width top left value
STEP(NAME)
{
    UNPACK
    const int y = g0 - top;
    __global const float *from = AT(in) + g2 * in_image + g1 * in_block + y * in_row;
    __global float *to = AT(out) + g2 * out_image + g1 * out_block + g0 * out_row;
    const fr outside = (fr)(as_float(value));
    const bool inside = y >= 0 && y < in_height;
    const int first = inside ? left : out_width, end = inside ? left + in_width : out_width;
    for (int x = 0; x < first; x++) STORE(to + x * BLOCK, outside);
    for (int x = first; x < end; x++) STORE(to + x * BLOCK, LOAD(from + (x - left) * BLOCK));
    for (int x = end; x < out_width; x++) STORE(to + x * BLOCK, outside);
}
