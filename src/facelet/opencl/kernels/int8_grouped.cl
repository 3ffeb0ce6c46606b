// Any integer convolution, plainly: groups, dilations. One row of one output channel per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width strides_h strides_w dilation_h dilation_w top left kernel_h kernel_w group_in group_out weights bias shifts slope slope_shifts residual residual_image residual_row residual_block residual_shifts low high
//
// SLOPES, RESIDUAL   see int8_conv.cl
//
// Weights: [out][in / groups][ky][kx], float32, which holds every sum exactly.
STEP(NAME)
{
    UNPACK
    const int group = g1 / group_out, y = g0 * strides_h - top;
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 / BLOCK * out_block + g0 * out_row) + g1 % BLOCK;
#if RESIDUAL
    __global const uchar *more = BYTES_AT(residual) + 4 * (g2 * residual_image + g1 / BLOCK * residual_block + g0 * residual_row) + g1 % BLOCK;
#endif
    for (int x = 0; x < out_width; x++) {
        float sum = constants[bias + g1];
        __global const float *w = constants + weights + g1 * group_in * kernel_h * kernel_w;
        for (int k = 0; k < group_in; k++) {
            const int c = group * group_in + k;
            __global const uchar *plane = BYTES_AT(in) + 4 * (g2 * in_image + c / BLOCK * in_block) + c % BLOCK;
            for (int ky = 0; ky < kernel_h; ky++) {
                const int iy = y + ky * dilation_h;
                for (int kx = 0; kx < kernel_w; kx++, w++) {
                    const int ix = x * strides_w - left + kx * dilation_w;
                    if (iy >= 0 && iy < in_height && ix >= 0 && ix < in_width)
                        sum += *w * ((int)plane[4 * iy * in_row + ix * BLOCK] - 128);
                }
            }
        }
        int v = (int)sum, shift = INTS(shifts)[g1];
#if RESIDUAL
        v += ((int)more[x * BLOCK] - 128) * (1 << INTS(residual_shifts)[g1]);
#endif
#if SLOPES
        if (v < 0) v *= INTS(slope)[g1], shift += INTS(slope_shifts)[g1];
#endif
        const int middle = (1 << shift) >> 1, odd = middle > 0;
        v = (v + middle - odd + (odd & (v >> shift))) >> shift;
        to[x * BLOCK] = max(low, min(high, v)) + 128;
    }
}
