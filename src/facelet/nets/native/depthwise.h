// Depthwise convolutions of any kernel, forward and backward, on NHWC tensors of LANES channels or more.
#pragma once

#include <algorithm>

#include "depthwise3.h"

// The stride where depthwise3.h has it, else 0.
inline int stride3(const Shape &s) { return s.kernel == 3 && s.pad == 1 && s.stride <= 2 ? s.stride : 0; }

// Outputs of a depthwise convolution; weight is (kernel * kernel, channels).
template <class T>
void depthwise(const T *x, const float *weight, T *y, int64_t images, const Shape &s) {
    switch (stride3(s)) {
        case 1: return depthwise3<1, false>(x, weight, y, images, s);
        case 2: return depthwise3<2, false>(x, weight, y, images, s);
    }
    for (int64_t n = 0; n < images; n++)
        for (int oy = 0; oy < s.out_height; oy++)
            for (int ox = 0; ox < s.out_width; ox++, y += s.channels) {
                const int top = oy * s.stride - s.pad, left = ox * s.stride - s.pad;
                const int ky0 = std::max(0, -top), ky1 = std::min(s.kernel, s.height - top);
                const int kx0 = std::max(0, -left), kx1 = std::min(s.kernel, s.width - left);
                for (int next = 0; next < s.channels; next += LANES) {
                    const int c = std::min(next, s.channels - LANES);  // the last lanes may be worked on twice
                    vec sum{};
                    for (int ky = ky0; ky < ky1; ky++)
                        for (int kx = kx0; kx < kx1; kx++)
                            sum += get(x + ((n * s.height + top + ky) * s.width + left + kx) * s.channels + c) *
                                   get(weight + (ky * s.kernel + kx) * s.channels + c);
                    put(y + c, sum);
                }
            }
}

// Gradients of a depthwise convolution's input.
template <class T>
void depthwise_data(const T *dy, const float *weight, T *dx, int64_t images, const Shape &s) {
    switch (stride3(s)) {
        case 1: return depthwise3<1, true>(dy, weight, dx, images, s);
        case 2: return depthwise3_data2(dy, weight, dx, images, s);
    }
    for (int64_t n = 0; n < images; n++)
        for (int iy = 0; iy < s.height; iy++)
            for (int ix = 0; ix < s.width; ix++, dx += s.channels) {
                // outputs whose window holds this input: out * stride - pad <= in < out * stride - pad + kernel
                const int over_y = iy + s.pad - s.kernel + 1, over_x = ix + s.pad - s.kernel + 1;
                const int oy0 = over_y > 0 ? (over_y + s.stride - 1) / s.stride : 0;
                const int ox0 = over_x > 0 ? (over_x + s.stride - 1) / s.stride : 0;
                const int oy1 = std::min(s.out_height, (iy + s.pad) / s.stride + 1);
                const int ox1 = std::min(s.out_width, (ix + s.pad) / s.stride + 1);
                for (int next = 0; next < s.channels; next += LANES) {
                    const int c = std::min(next, s.channels - LANES);  // the last lanes may be worked on twice
                    vec sum{};
                    for (int oy = oy0; oy < oy1; oy++)
                        for (int ox = ox0; ox < ox1; ox++)
                            sum += get(dy + ((n * s.out_height + oy) * s.out_width + ox) * s.channels + c) *
                                   get(weight + ((iy + s.pad - oy * s.stride) * s.kernel + ix + s.pad - ox * s.stride) *
                                                    s.channels + c);
                    put(dx + c, sum);
                }
            }
}

// Adds the gradients of a depthwise convolution's weight, (kernel * kernel, channels), over some images.
template <class T>
void depthwise_weight(const T *x, const T *dy, double *dw, int64_t images, const Shape &s) {
    switch (stride3(s)) {
        case 1: return depthwise3_weight<1>(x, dy, dw, images, s);
        case 2: return depthwise3_weight<2>(x, dy, dw, images, s);
    }
    for (int64_t n = 0; n < images; n++)
        for (int next = 0; next < s.channels; next += LANES)
            for (int tap = 0; tap < s.kernel * s.kernel; tap++) {
                const int c = std::min(next, s.channels - LANES);
                vec sum{};
                for (int oy = 0; oy < s.out_height; oy++)
                    for (int ox = 0; ox < s.out_width; ox++) {
                        const int iy = oy * s.stride - s.pad + tap / s.kernel;
                        const int ix = ox * s.stride - s.pad + tap % s.kernel;
                        if (iy >= 0 && iy < s.height && ix >= 0 && ix < s.width)
                            sum += get(x + ((n * s.height + iy) * s.width + ix) * s.channels + c) *
                                   get(dy + ((n * s.out_height + oy) * s.out_width + ox) * s.channels + c);
                    }
                add(dw + tap * s.channels + c, sum, next - c);
            }
}
