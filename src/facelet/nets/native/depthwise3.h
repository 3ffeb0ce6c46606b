// Depthwise convolutions of 3x3 taps with one pixel of padding, forward and backward, at strides 1 and 2: what nearly
// all of them are. A pixel is read three times and not nine. The arguments are those of depthwise.h.
#pragma once

#include <algorithm>
#include <vector>

#include "lanes.h"
#include "shape.h"

// Three columns of three rows, which a 3x3 window covers on its way to the right; what lies beyond the map is zero.
template <int STRIDE, class T>
struct Window {
    vec at[3][3]{};  // column, row

    // Stands before the first of a line of windows whose upper row is `top` and whose left column is -1.
    Window(const T *image, const T *zeros, int top, int c, const Shape &s) : width(s.width), channels(s.channels) {
        for (int ky = 0; ky < 3; ky++) {
            const int y = top + ky;
            rows[ky] = (y >= 0 && y < s.height ? image + y * width * channels : zeros) + c;
        }
        if (STRIDE == 1) load(2);
    }
    void step() {
        for (int kx = 0; kx < 3 - STRIDE; kx++)
            for (int ky = 0; ky < 3; ky++) at[kx][ky] = at[kx + STRIDE][ky];
        for (int kx = 3 - STRIDE; kx < 3; kx++) load(kx);
    }

private:
    const T *rows[3];
    int next = 0, width, channels;

    void load(int into) {
        for (int ky = 0; ky < 3; ky++) at[into][ky] = next < width ? get(rows[ky] + next * channels) : vec{};
        next++;
    }
};

// `depthwise` of 3x3 taps, which stay in registers as the window does; FLIP turns the weight by half a circle.
template <int STRIDE, bool FLIP, class T>
void depthwise3(const T *x, const float *weight, T *y, int64_t images, const Shape &s) {
    const int in = s.width * s.channels, out = s.out_width * s.channels;
    const std::vector<T> zeros(in);
    for (int64_t n = 0; n < images; n++, x += s.height * in)
        for (int oy = 0; oy < s.out_height; oy++, y += out)
            for (int first = 0; first < s.channels; first += LANES) {
                const int c = std::min(first, s.channels - LANES);  // the last lanes may be worked on twice
                vec w[9];
                for (int tap = 0; tap < 9; tap++) w[tap] = get(weight + (FLIP ? 8 - tap : tap) * s.channels + c);
                Window<STRIDE, T> window(x, zeros.data(), oy * STRIDE - 1, c, s);
                for (int ox = 0; ox < s.out_width; ox++) {
                    window.step();
                    vec sum[3]{};
                    for (int tap = 0; tap < 9; tap++) sum[tap / 3] += window.at[tap % 3][tap / 3] * w[tap];
                    put(y + ox * s.channels + c, sum[0] + sum[1] + sum[2]);
                }
            }
}

// `depthwise_data` of 3x3 taps at stride 2: an input of even row and column has one tap, one of odd has four.
template <class T>
void depthwise3_data2(const T *dy, const float *weight, T *dx, int64_t images, const Shape &s) {
    const int in = s.width * s.channels, out = s.out_width * s.channels;
    const std::vector<T> zeros(out);
    for (int64_t n = 0; n < images; n++, dy += s.out_height * out)
        for (int iy = 0; iy < s.height; iy++, dx += in) {
            const int odd = iy % 2, oy = iy / 2;
            const T *upper = dy + oy * out, *lower = odd && oy + 1 < s.out_height ? upper + out : zeros.data();
            for (int first = 0; first < s.channels; first += LANES) {
                const int c = std::min(first, s.channels - LANES);
                vec w[2][3];
                for (int kx = 0; kx < 3; kx++) {
                    w[0][kx] = get(weight + (3 + 3 * odd + kx) * s.channels + c);
                    w[1][kx] = get(weight + kx * s.channels + c);
                }
                vec above = get(upper + c), below = get(lower + c);
                for (int ix = 0; ix < s.width; ix += 2) {
                    put(dx + ix * s.channels + c, above * w[0][1] + below * w[1][1]);
                    if (ix + 1 == s.width) break;
                    const vec left = above * w[0][2] + below * w[1][2];
                    const int next = (ix / 2 + 1) * s.channels + c;
                    above = next < out ? get(upper + next) : vec{};
                    below = next < out ? get(lower + next) : vec{};
                    put(dx + (ix + 1) * s.channels + c, left + above * w[0][0] + below * w[1][0]);
                }
            }
        }
}

// `depthwise_weight` of 3x3 taps, whose nine sums stay in registers.
template <int STRIDE, class T>
void depthwise3_weight(const T *x, const T *dy, double *dw, int64_t images, const Shape &s) {
    const int in = s.width * s.channels, out = s.out_width * s.channels;
    const std::vector<T> zeros(in);
    for (int64_t n = 0; n < images; n++, x += s.height * in, dy += s.out_height * out)
        for (int first = 0; first < s.channels; first += LANES) {
            const int c = std::min(first, s.channels - LANES);
            vec sum[9]{};
            for (int oy = 0; oy < s.out_height; oy++) {
                Window<STRIDE, T> window(x, zeros.data(), oy * STRIDE - 1, c, s);
                for (int ox = 0; ox < s.out_width; ox++) {
                    window.step();
                    const vec gradient = get(dy + oy * out + ox * s.channels + c);
                    for (int tap = 0; tap < 9; tap++) sum[tap] += window.at[tap % 3][tap / 3] * gradient;
                }
            }
            for (int tap = 0; tap < 9; tap++) add(dw + tap * s.channels + c, sum[tap], first - c);
        }
}
