// A blocked image of another height and width: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block out_width rows columns
//
// LINEAR   0: one pixel; 1: between two rows and two columns
//
// Rows and columns: constants, three numbers for each of the output: first, second, weight of the second.
STEP(NAME)
{
    UNPACK
    __global const float *image = AT(in) + g2 * in_image + g1 * in_block, *row = constants + rows + 3 * g0;
    __global const float *upper = image + (int)row[0] * in_row;
    __global float *to = AT(out) + g2 * out_image + g1 * out_block + g0 * out_row;
#if LINEAR
    __global const float *lower = image + (int)row[1] * in_row;
#endif
    for (int x = 0; x < out_width; x++) {
        __global const float *column = constants + columns + 3 * x;
        const int left = (int)column[0] * BLOCK;
#if LINEAR
        const int right = (int)column[1] * BLOCK;
        const fr above = LOAD(upper + left) * (1.0f - column[2]) + LOAD(upper + right) * column[2];
        const fr below = LOAD(lower + left) * (1.0f - column[2]) + LOAD(lower + right) * column[2];
        STORE(to + x * BLOCK, above * (1.0f - row[2]) + below * row[2]);
#else
        STORE(to + x * BLOCK, LOAD(upper + left));
#endif
    }
}
