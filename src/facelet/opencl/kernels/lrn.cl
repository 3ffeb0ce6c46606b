// Local response normalisation across the channels of a blocked image: one row per work-item, pixel by pixel.
//
// Arguments: in in_image in_row in_block out out_image out_row out_block width alpha beta bias
//
// CHANNELS   of the image; the squares of one pixel are kept in private memory
// REACH      channels to either side
// BETA_75    1 where beta is 0.75, which two square roots make
#define BLOCKED ((CHANNELS + BLOCK - 1) / BLOCK)
STEP(NAME)
{
    UNPACK
    float squares[REACH + BLOCKED * BLOCK + REACH + BLOCK];
    for (int c = 0; c < REACH; c++) squares[c] = squares[REACH + CHANNELS + c] = 0.0f;
    for (int x = 0; x < width; x++) {
        __global const float *from = AT(in) + g2 * in_image + g0 * in_row + x * BLOCK;
        __global float *to = AT(out) + g2 * out_image + g0 * out_row + x * BLOCK;
        for (int b = 0; b < BLOCKED; b++) {
            const fr v = LOAD(from + b * in_block);
            PRIVATE_STORE(squares + REACH + b * BLOCK, v * v);
        }
        for (int c = CHANNELS; c < CHANNELS + REACH; c++) squares[REACH + c] = 0.0f;
        for (int b = 0; b < BLOCKED; b++) {
            fr sum = (fr)(0.0f);
            #pragma unroll
            for (int i = 0; i <= 2 * REACH; i++) sum += PRIVATE_LOAD(squares + b * BLOCK + i);
            sum = as_float(bias) + as_float(alpha) * sum;
#if BETA_75
            const fr root = sqrt(sum);
            sum = root * sqrt(root);
#else
            sum = powers(sum, (fr)(as_float(beta)));
#endif
            STORE(to + b * out_block, LOAD(from + b * in_block) / sum);
        }
    }
}
#undef BLOCKED
