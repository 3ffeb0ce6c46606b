// Dense convolution of a blocked image, with bias, residual and activation: a register tile per work-item.
//
// Arguments: in in_image in_row in_block in_channels out out_image out_row out_block tiles_x last_x last_y last_block weights bias slope residual residual_image residual_row residual_block low high
//
// TILE_H, TILE_W   output pixels of a tile; the last tile of a row overlaps its neighbour (1 x 4 ... 1 x 12; 3 x 3)
// BLOCKS           output blocks of a tile (1 ... 4). TILE_H * TILE_W * BLOCKS accumulators, BLOCKS weights and one
//                  pixel must fit into the registers: 32 of AVX-512, 16 of AVX2
// KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W   of the convolution; padding is in the image's border
// UNROLL           input channels a turn of the inner loop (2, 4, 8); divides BLOCK
// ACTIVATION, RESIDUAL   see prelude.cl; 1 adds the residual before the activation
//
// Weights lie as a work-item reads them: [group of BLOCKS][in / BLOCK][ky][kx][in % BLOCK][BLOCKS * BLOCK].
STEP(NAME)
{
    UNPACK
    const int x = min(g0 % tiles_x * TILE_W, last_x), y = min(g0 / tiles_x * TILE_H, last_y);
    const int first = min(g1 * BLOCKS, last_block); // as with tiles, the last group may overlap its neighbour
    __global const float *image = AT(in) + g2 * in_image + y * STRIDE_H * in_row + x * (STRIDE_W * BLOCK);
    __global const float *w = constants + weights + g1 * (BLOCKS * BLOCK * KERNEL_H * KERNEL_W) * in_channels;
    fr sum[TILE_H * TILE_W][BLOCKS];
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        const fr start = LOAD(constants + bias + (first + b) * BLOCK);
        #pragma unroll
        for (int p = 0; p < TILE_H * TILE_W; p++) sum[p][b] = start;
    }
#define CHANNEL(c)                                                                           \
    {                                                                                        \
        fr wide[BLOCKS];                                                                     \
        _Pragma("unroll")                                                                    \
        for (int b = 0; b < BLOCKS; b++) wide[b] = LOAD(w + ((c) * BLOCKS + b) * BLOCK);     \
        _Pragma("unroll")                                                                    \
        for (int p = 0; p < TILE_H * TILE_W; p++) {                                          \
            const float pixel = from[p / TILE_W * STRIDE_H * in_row + p % TILE_W * STRIDE_W * BLOCK + (c)]; \
            _Pragma("unroll")                                                                \
            for (int b = 0; b < BLOCKS; b++) sum[p][b] += pixel * wide[b];                   \
        }                                                                                    \
    }
    for (int left = in_channels; left > 0; left -= BLOCK) {
        for (int ky = 0; ky < KERNEL_H; ky++) {
            for (int kx = 0; kx < KERNEL_W; kx++) {
                __global const float *from = image + ky * in_row + kx * BLOCK;
                if (left >= BLOCK) {
                    #pragma unroll 1
                    for (int c = 0; c < BLOCK; c += UNROLL) {
                        #pragma unroll
                        for (int u = 0; u < UNROLL; u++) { CHANNEL(u) }
                        w += UNROLL * BLOCKS * BLOCK;
                        from += UNROLL;
                    }
                } else {
                    #pragma unroll 1
                    for (int c = 0; c < left; c++) {
                        CHANNEL(0)
                        w += BLOCKS * BLOCK;
                        from++;
                    }
                }
            }
        }
        image += in_block;
    }
#undef CHANNEL
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        const int block = first + b;
#if ACTIVATION == 3
        const fr steep = LOAD(constants + slope + block * BLOCK);
#else
        const fr steep = (fr)(0.0f);
#endif
        __global float *to = AT(out) + g2 * out_image + block * out_block + y * out_row + x * BLOCK;
#if RESIDUAL
        __global const float *more = AT(residual) + g2 * residual_image + block * residual_block + y * residual_row + x * BLOCK;
#endif
        #pragma unroll
        for (int p = 0; p < TILE_H * TILE_W; p++) {
            fr v = sum[p][b];
#if RESIDUAL
            v += LOAD(more + p / TILE_W * residual_row + p % TILE_W * BLOCK);
#endif
            v = activated(ACTIVATION, v, as_float(low), as_float(high), steep);
            STORE(to + p / TILE_W * out_row + p % TILE_W * BLOCK, v);
        }
    }
}
