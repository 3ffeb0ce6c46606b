// Dense convolution of int8 images, with bias, residual, activation and requantization: a register tile per work-item.
//
// Arguments: in in_image in_row in_block in_channels out out_image out_row out_block tiles_x last_x last_y last_block weights bias shifts slope slope_shifts residual residual_image residual_row residual_block residual_shifts low high
//
// TILE_H, TILE_W, BLOCKS, KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W   as in conv.cl
// IN_BLOCK         channels of a pixel that lie side by side in the input
// SLOPES, RESIDUAL 1: there are slopes; a residual
// VNNI             1: four products and their sum at once (vpdpbusd: unsigned bytes times signed ones); the bias then
//                  holds what the 128 that is added to every byte makes. Weights: [group of BLOCKS][in / IN_BLOCK][ky][kx]
//                  [in % IN_BLOCK / 4][BLOCKS * BLOCK][4], bytes
//                  0: float32, which holds every sum exactly. Weights: as in conv.cl, float32
STEP(NAME)
{
    UNPACK
    const int x = min(g0 % tiles_x * TILE_W, last_x), y = min(g0 / tiles_x * TILE_H, last_y);
    const int first = min(g1 * BLOCKS, last_block);
    __global const int *image = (__global const int *)AT(in) + g2 * in_image + y * STRIDE_H * in_row + x * (STRIDE_W * IN_BLOCK / 4);
#if VNNI
    const int in_words = (in_channels + 3) / 4;
    __global const int *w = INTS(weights) + g1 * (BLOCKS * BLOCK * KERNEL_H * KERNEL_W) * in_words;
    iv sum[TILE_H * TILE_W][BLOCKS];
#define START(o) LOAD_INTS(INTS(o))
#else
    __global const float *w = constants + weights + g1 * (BLOCKS * BLOCK * KERNEL_H * KERNEL_W) * in_channels;
    fr sum[TILE_H * TILE_W][BLOCKS];
#define START(o) LOAD(constants + (o))
#endif
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        #pragma unroll
        for (int p = 0; p < TILE_H * TILE_W; p++) sum[p][b] = START(bias + (first + b) * BLOCK);
    }
#undef START
#define PIXEL(p) ((p) / TILE_W * STRIDE_H * in_row + (p) % TILE_W * (STRIDE_W * IN_BLOCK / 4))
#if VNNI
#define WORD(c)                                                                              \
    {                                                                                        \
        iv wide[BLOCKS];                                                                     \
        _Pragma("unroll")                                                                    \
        for (int b = 0; b < BLOCKS; b++) wide[b] = LOAD_INTS(w + ((c) * BLOCKS + b) * BLOCK); \
        _Pragma("unroll")                                                                    \
        for (int p = 0; p < TILE_H * TILE_W; p++) {                                          \
            const iv pixel = (iv)(from[PIXEL(p) + (c)]);                                     \
            _Pragma("unroll")                                                                \
            for (int b = 0; b < BLOCKS; b++)                                                 \
                __asm__("vpdpbusd %2, %1, %0" : "+v"(sum[p][b]) : "v"(pixel), "v"(wide[b])); \
        }                                                                                    \
    }
    for (int left = in_words; left > 0; left -= IN_BLOCK / 4) {
        for (int ky = 0; ky < KERNEL_H; ky++) {
            for (int kx = 0; kx < KERNEL_W; kx++) {
                __global const int *from = image + ky * in_row + kx * (IN_BLOCK / 4);
                if (left >= IN_BLOCK / 4) {
                    #pragma unroll
                    for (int u = 0; u < IN_BLOCK / 4; u++) { WORD(u) }
                    w += IN_BLOCK / 4 * BLOCKS * BLOCK;
                } else {
                    #pragma unroll 1
                    for (int c = 0; c < left; c++) {
                        WORD(0)
                        w += BLOCKS * BLOCK;
                        from++;
                    }
                }
            }
        }
        image += in_block;
    }
#undef WORD
#else
    for (int left = in_channels; left > 0; left -= IN_BLOCK) {
        for (int ky = 0; ky < KERNEL_H; ky++) {
            for (int kx = 0; kx < KERNEL_W; kx++) {
                __global const int *corner = image + ky * in_row + kx * (IN_BLOCK / 4);
                #pragma unroll 1
                for (int c = 0; c < min(left, IN_BLOCK); c++) {
                    __global const uchar *from = (__global const uchar *)corner + c;
                    fr wide[BLOCKS];
                    #pragma unroll
                    for (int b = 0; b < BLOCKS; b++) wide[b] = LOAD(w + b * BLOCK);
                    #pragma unroll
                    for (int p = 0; p < TILE_H * TILE_W; p++) {
                        const float pixel = (int)from[4 * PIXEL(p)] - 128;
                        #pragma unroll
                        for (int b = 0; b < BLOCKS; b++) sum[p][b] += pixel * wide[b];
                    }
                    w += BLOCKS * BLOCK;
                }
            }
        }
        image += in_block;
    }
#endif
#undef PIXEL
    #pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
        const int block = first + b;
        const iv shift = LOAD_INTS(INTS(shifts + block * BLOCK));
#if SLOPES
        const iv steep = LOAD_INTS(INTS(slope + block * BLOCK)), more_shift = LOAD_INTS(INTS(slope_shifts + block * BLOCK));
#else
        const iv steep = (iv)(0), more_shift = (iv)(0);
#endif
        __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + block * out_block + y * out_row + x * (BLOCK / 4));
#if RESIDUAL
        const iv left_shift = LOAD_INTS(INTS(residual_shifts + block * BLOCK));
        __global const uchar *more = BYTES_AT(residual) + 4 * (g2 * residual_image + block * residual_block + y * residual_row + x * (BLOCK / 4));
#endif
        #pragma unroll
        for (int p = 0; p < TILE_H * TILE_W; p++) {
#if VNNI
            iv v = sum[p][b];
#else
            iv v = TO_INTS(sum[p][b]);
#endif
#if RESIDUAL
            v += (TO_INTS(LOAD_BYTES(more + 4 * (p / TILE_W * residual_row) + p % TILE_W * BLOCK)) - (iv)(128)) << left_shift;
#endif
            STORE_BYTES(to + 4 * (p / TILE_W * out_row) + p % TILE_W * BLOCK, requantized(v, shift, SLOPES, steep, more_shift, low, high));
        }
    }
}
