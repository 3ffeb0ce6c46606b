// Any convolution, plainly: groups, dilations, planes or blocks. One row of one output channel per work-item.
//
// Arguments: in in_image in_row in_pixel in_block in_lane in_height in_width out out_image out_row out_block out_width strides_h strides_w dilation_h dilation_w top left kernel_h kernel_w group_in group_out weights bias slope residual residual_image residual_row residual_block activation low high
//
// IN_SPLIT   input channels that are in_lane apart before in_block is stepped: BLOCK, or 1 for planes
// SLOPES, RESIDUAL   1: there are slopes of a PRelu; a residual
//
// Weights: [out][in / groups][ky][kx].
STEP(NAME)
{
    UNPACK
    const int group = g1 / group_out, y = g0 * strides_h - top;
    for (int x = 0; x < out_width; x++) {
        float sum = constants[bias + g1];
        __global const float *w = constants + weights + g1 * group_in * kernel_h * kernel_w;
        for (int k = 0; k < group_in; k++) {
            const int c = group * group_in + k;
            __global const float *plane = AT(in) + g2 * in_image + c / IN_SPLIT * in_block + c % IN_SPLIT * in_lane;
            for (int ky = 0; ky < kernel_h; ky++) {
                const int iy = y + ky * dilation_h;
                for (int kx = 0; kx < kernel_w; kx++, w++) {
                    const int ix = x * strides_w - left + kx * dilation_w;
                    if (iy >= 0 && iy < in_height && ix >= 0 && ix < in_width)
                        sum += *w * plane[iy * in_row + ix * in_pixel];
                }
            }
        }
        const int at = g0 * out_row + x * BLOCK + g1 % BLOCK;
#if RESIDUAL
        sum += AT(residual)[g2 * residual_image + g1 / BLOCK * residual_block + at - g0 * out_row + g0 * residual_row];
#endif
#if SLOPES
        const float steep = constants[slope + g1];
#else
        const float steep = 0.0f;
#endif
        AT(out)[g2 * out_image + g1 / BLOCK * out_block + at] = activated1(activation, sum, as_float(low), as_float(high), steep);
    }
}
