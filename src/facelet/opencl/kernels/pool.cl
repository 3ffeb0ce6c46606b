// Pooling of a blocked image without borders: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width kernel_h kernel_w stride_h stride_w top left power
//
// POOL   0 largest, 1 mean over the window with its padding, 2 mean over the pixels inside, 3 root of the sum of
//        squares, 4 the same with any power
STEP(NAME)
{
    UNPACK
    const int y = g0 * stride_h - top, first = max(0, -y), end = min(kernel_h, in_height - y);
    __global const float *image = AT(in) + g2 * in_image + g1 * in_block;
    __global float *to = AT(out) + g2 * out_image + g1 * out_block + g0 * out_row;
    for (int column = 0; column < out_width; column++) {
        const int x = column * stride_w - left, start = max(0, -x), stop = min(kernel_w, in_width - x);
        fr sum = (fr)(POOL == 0 ? -INFINITY : 0.0f);
        for (int ky = first; ky < end; ky++) {
            __global const float *from = image + (y + ky) * in_row + x * BLOCK;
            for (int kx = start; kx < stop; kx++) {
                const fr v = LOAD(from + kx * BLOCK);
#if POOL == 0
                sum = v > sum ? v : sum;
#elif POOL == 3
                sum += v * v;
#elif POOL == 4
                sum += powers(v < (fr)(0.0f) ? -v : v, (fr)(as_float(power)));
#else
                sum += v;
#endif
            }
        }
#if POOL == 1
        sum *= 1.0f / (kernel_h * kernel_w);
#elif POOL == 2
        sum *= 1.0f / ((end - first) * (stop - start));
#elif POOL == 3
        sum = sqrt(sum);
#elif POOL == 4
        sum = powers(sum, (fr)(1.0f / as_float(power)));
#endif
        STORE(to + column * BLOCK, sum);
    }
}
