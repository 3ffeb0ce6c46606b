// The first convolution: few planes in (RGB), a blocked image out. A register tile per work-item.
//
// Arguments: in in_image in_row in_plane in_channels out out_image out_row out_block tiles_x last_x weights bias slope low high
//
// TILE_W     output pixels of a tile, in one row; the last one overlaps its neighbour (4 ... 12)
// BLOCKS     output blocks of a tile (1, 2)
// KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W   of the convolution; padding is in the planes' border
// ACTIVATION see prelude.cl
//
// Weights: [out / (BLOCKS * BLOCK)][in][ky][kx][BLOCKS * BLOCK].
STEP(NAME)
{
    UNPACK
    const int x = min(g0 % tiles_x * TILE_W, last_x), y = g0 / tiles_x;
    __global const float *image = AT(in) + g2 * in_image + y * STRIDE_H * in_row + x * STRIDE_W;
    __global const float *w = constants + weights + g1 * (BLOCKS * BLOCK * KERNEL_H * KERNEL_W) * in_channels;
    fr sum[TILE_W][BLOCKS];
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        const fr start = LOAD(constants + bias + (g1 * BLOCKS + b) * BLOCK);
        #pragma unroll
        for (int p = 0; p < TILE_W; p++) sum[p][b] = start;
    }
    #pragma unroll 1
    for (int c = 0; c < in_channels; c++) {
        #pragma unroll 1
        for (int ky = 0; ky < KERNEL_H; ky++) {
            __global const float *from = image + c * in_plane + ky * in_row;
            #pragma unroll
            for (int kx = 0; kx < KERNEL_W; kx++) {
                fr wide[BLOCKS];
                #pragma unroll
                for (int b = 0; b < BLOCKS; b++) wide[b] = LOAD(w + (kx * BLOCKS + b) * BLOCK);
                #pragma unroll
                for (int p = 0; p < TILE_W; p++) {
                    const float pixel = from[p * STRIDE_W + kx];
                    #pragma unroll
                    for (int b = 0; b < BLOCKS; b++) sum[p][b] += pixel * wide[b];
                }
            }
            w += KERNEL_W * BLOCKS * BLOCK;
        }
    }
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        const int block = g1 * BLOCKS + b;
#if ACTIVATION == 3
        const fr steep = LOAD(constants + slope + block * BLOCK);
#else
        const fr steep = (fr)(0.0f);
#endif
        __global float *to = AT(out) + g2 * out_image + block * out_block + y * out_row + x * BLOCK;
        #pragma unroll
        for (int p = 0; p < TILE_W; p++)
            STORE(to + p * BLOCK, activated(ACTIVATION, sum[p][b], as_float(low), as_float(high), steep));
    }
}
