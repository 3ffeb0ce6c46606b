// Depthwise convolution of an int8 image, in float32, which holds every sum exactly: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width weights bias shifts slope slope_shifts residual residual_image residual_row residual_block residual_shifts low high
//
// TILE_W, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, WIDE, TOP, LEFT, RIGHT   as in depthwise.cl
// SLOPES, RESIDUAL   see int8_conv.cl
//
// Weights: [block][ky][kx][BLOCK], float32.
STEP(NAME)
{
    UNPACK
    const int top = g0 * STRIDE_H - TOP;
    __global const uchar *image = BYTES_AT(in) + 4 * (g2 * in_image + g1 * in_block);
    __global const float *w = constants + weights + g1 * (KERNEL_H * KERNEL_W * BLOCK);
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 * out_block + g0 * out_row);
    const int first = max(0, -top), end = min(KERNEL_H, in_height - top);
    const fr start = LOAD(constants + bias + g1 * BLOCK);
    const iv shift = LOAD_INTS(INTS(shifts + g1 * BLOCK));
#if SLOPES
    const iv steep = LOAD_INTS(INTS(slope + g1 * BLOCK)), more_shift = LOAD_INTS(INTS(slope_shifts + g1 * BLOCK));
#else
    const iv steep = (iv)(0), more_shift = (iv)(0);
#endif
#if RESIDUAL
    const iv left_shift = LOAD_INTS(INTS(residual_shifts + g1 * BLOCK));
    __global const uchar *more = BYTES_AT(residual) + 4 * (g2 * residual_image + g1 * residual_block + g0 * residual_row);
#endif
    #pragma unroll 1
    for (int at = 0; at < out_width; at += TILE_W) {
        const int x = min(at, out_width - TILE_W), left = x * STRIDE_W - LEFT;
        fr sum[TILE_W];
        #pragma unroll
        for (int p = 0; p < TILE_W; p++) sum[p] = start;
        #pragma unroll 1
        for (int ky = first; ky < end; ky++) {
            __global const uchar *from = image + 4 * (top + ky) * in_row + left * BLOCK;
            __global const float *wk = w + ky * (KERNEL_W * BLOCK);
            fr pixels[WIDE];
            #pragma unroll
            for (int i = 0; i < WIDE; i++) {
                const bool safe = i >= LEFT && i < WIDE - RIGHT;
                pixels[i] = safe || (uint)(left + i) < (uint)in_width ? TO_FLOATS(LOAD_BYTES(from + i * BLOCK)) - (fr)(128.0f) : (fr)(0.0f);
            }
            #pragma unroll
            for (int kx = 0; kx < KERNEL_W; kx++) {
                const fr wide = LOAD(wk + kx * BLOCK);
                #pragma unroll
                for (int p = 0; p < TILE_W; p++) sum[p] += pixels[p * STRIDE_W + kx] * wide;
            }
        }
        #pragma unroll
        for (int p = 0; p < TILE_W; p++) {
            iv v = TO_INTS(sum[p]);
#if RESIDUAL
            v += (TO_INTS(LOAD_BYTES(more + (x + p) * BLOCK)) - (iv)(128)) << left_shift;
#endif
            STORE_BYTES(to + (x + p) * BLOCK, requantized(v, shift, SLOPES, steep, more_shift, low, high));
        }
    }
}
