// Depthwise convolution of a blocked image without borders: one row of one block per work-item, tile by tile.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width weights bias slope residual residual_image residual_row residual_block low high
//
// TILE_W     output pixels of a tile (4, 6); the last one overlaps its neighbour, so at most the output's width
// KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W   of the convolution
// WIDE       input pixels of a row of a tile: (TILE_W - 1) * STRIDE_W + KERNEL_W
// TOP, LEFT  padding before the first row and column
// RIGHT      columns that the last window reaches beyond the image
// ACTIVATION, RESIDUAL   see conv.cl
//
// Only the first LEFT and the last RIGHT pixels of a tile can be outside, so only they are tested.
// Weights: [block][ky][kx][BLOCK].
STEP(NAME)
{
    UNPACK
    const int top = g0 * STRIDE_H - TOP;
    __global const float *image = AT(in) + g2 * in_image + g1 * in_block;
    __global const float *w = constants + weights + g1 * (KERNEL_H * KERNEL_W * BLOCK);
    __global float *to = AT(out) + g2 * out_image + g1 * out_block + g0 * out_row;
#if RESIDUAL
    __global const float *more = AT(residual) + g2 * residual_image + g1 * residual_block + g0 * residual_row;
#endif
    const int first = max(0, -top), end = min(KERNEL_H, in_height - top);
    const fr start = LOAD(constants + bias + g1 * BLOCK);
#if ACTIVATION == 3
    const fr steep = LOAD(constants + slope + g1 * BLOCK);
#else
    const fr steep = (fr)(0.0f);
#endif
    #pragma unroll 1
    for (int at = 0; at < out_width; at += TILE_W) {
        const int x = min(at, out_width - TILE_W), left = x * STRIDE_W - LEFT;
        fr sum[TILE_W];
        #pragma unroll
        for (int p = 0; p < TILE_W; p++) sum[p] = start;
        #pragma unroll 1
        for (int ky = first; ky < end; ky++) {
            __global const float *from = image + (top + ky) * in_row + left * BLOCK;
            __global const float *wk = w + ky * (KERNEL_W * BLOCK);
            fr pixels[WIDE];
            #pragma unroll
            for (int i = 0; i < WIDE; i++) {
                const bool safe = i >= LEFT && i < WIDE - RIGHT;
                pixels[i] = safe || (uint)(left + i) < (uint)in_width ? LOAD(from + i * BLOCK) : (fr)(0.0f);
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
            fr v = sum[p];
#if RESIDUAL
            v += LOAD(more + (x + p) * BLOCK);
#endif
            STORE(to + (x + p) * BLOCK, activated(ACTIVATION, v, as_float(low), as_float(high), steep));
        }
    }
}
