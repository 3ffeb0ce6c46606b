// Passes over the rows of a tensor that batch norm makes, forward and backward.
//
// A row is a pixel's channels, or those of several pixels; its width is a multiple of LANES. Sums over many rows are
// double.
#pragma once

#include <algorithm>

#include "lanes.h"

constexpr int BLOCK = 128;  // rows that are summed in float before they go into a double

// v where 0 < v < top, slope * v where v <= 0, top elsewhere
inline vec activate(vec v, vec slope, float top) {
    const vec positive = v < top ? v : vec{} + top;
    return v > 0 ? positive : slope * v;
}
// gradient that passes
inline vec pass(vec gradient, vec v, vec slope, float top) {
    const vec positive = v < top ? gradient : vec{};
    return v > 0 ? positive : gradient * slope;
}

// Sums of x - pivot and of its square; a pivot near the mean keeps the digits of the variance.
template <class T>
void moments(const T *x, int64_t rows, int width, const float *pivot, double *sum, double *square) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t stop = std::min(rows, start + BLOCK);
        for (int c = 0; c < width; c += LANES) {
            const vec middle = get(pivot + c);
            vec s{}, q{};
            for (int64_t row = start; row < stop; row++) {
                const vec value = get(x + row * width + c) - middle;
                s += value;
                q += value * value;
            }
            add(sum + c, s);
            add(square + c, q);
        }
    }
}

template <class T>
void norm_rows(const T *x, T *y, int64_t rows, int width, const float *scale, const float *shift, const float *slope,
               float top) {
    for (int64_t row = 0; row < rows; row++, x += width, y += width)
        for (int c = 0; c < width; c += LANES)
            put(y + c, activate(get(x + c) * get(scale + c) + get(shift + c), get(slope + c), top));
}

// Sums of the gradient behind the activation, of it times x - pivot, and of that of the slope.
template <class T>
void norm_sums(const T *x, const T *dy, int64_t rows, int width, const float *pivot, const float *scale,
               const float *shift, const float *slope, float top, double *of_g, double *of_gx, double *of_slope) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t stop = std::min(rows, start + BLOCK);
        for (int c = 0; c < width; c += LANES) {
            const vec middle = get(pivot + c), a = get(scale + c), b = get(shift + c), p = get(slope + c);
            vec g{}, gx{}, gs{};
            for (int64_t row = start; row < stop; row++) {
                const vec value = get(x + row * width + c), incoming = get(dy + row * width + c);
                const vec v = value * a + b, through = pass(incoming, v, p, top);
                g += through;
                gx += through * (value - middle);
                gs += v > 0 ? vec{} : incoming * v;
            }
            add(of_g + c, g);
            add(of_gx + c, gx);
            add(of_slope + c, gs);
        }
    }
}

template <class T>
void norm_back_rows(const T *x, const T *dy, T *dx, int64_t rows, int width, const float *pivot, const float *scale,
                    const float *shift, const float *slope, float top, const float *of_x, const float *offset) {
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width)
        for (int c = 0; c < width; c += LANES) {
            const vec value = get(x + c), a = get(scale + c), v = value * a + get(shift + c);
            const vec through = pass(get(dy + c), v, get(slope + c), top);
            put(dx + c, a * through + get(of_x + c) * (value - get(pivot + c)) + get(offset + c));
        }
}
