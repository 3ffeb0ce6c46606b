// Batch norm with its activation, forward and backward.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "rows.h"

// A norm and its activation over rows of `at_once` pixels, so `at_once * channels` numbers wide.
struct Norm {
    int64_t rows;
    int channels, at_once;
    float top;        // of the activation; infinity for none
    double eps;       // added to the variance
    double momentum;  // of the running statistics
};

// Batch norm of these pixels, then `min(v, top)` where v is positive and `slope * v` elsewhere. Moves the running
// statistics, which may be absent; fills `line`, (3, width): scale, shift and slope; and `moment`, (2, channels): mean
// and deviation.
template <class T>
void norm(const T *x, T *y, const Norm &of, const float *weight, const float *bias, const float *slope,
          float *running_mean, float *running_variance, float *line, double *moment) {
    const int channels = of.channels, width = channels * of.at_once;
    const double pixels = (double)of.rows * of.at_once;
    std::vector<float> pivot(width);
    for (int i = 0; i < width; i += LANES) put(&pivot[i], get(x + i));
    for (int i = channels; i < width; i++) pivot[i] = pivot[i - channels];
    std::vector<double> sums(2 * width);
    moments(x, of.rows, width, pivot.data(), sums.data(), sums.data() + width);
    for (int c = 0; c < channels; c++) {
        double off = 0, square = 0;  // off: of the mean from the pivot
        for (int i = c; i < width; i += channels) off += sums[i] / pixels, square += sums[width + i] / pixels;
        const double mean = pivot[c] + off;
        const double variance = std::max(square - off * off, 0.0), deviation = std::sqrt(variance + of.eps);
        moment[c] = mean, moment[channels + c] = deviation;
        if (running_mean) {
            running_mean[c] += of.momentum * (mean - running_mean[c]);
            running_variance[c] += of.momentum * (variance * pixels / (pixels - 1) - running_variance[c]);
        }
        for (int i = c; i < width; i += channels) {
            line[i] = weight[c] / deviation;
            line[width + i] = bias[c] - mean * weight[c] / deviation;
            line[2 * width + i] = slope[c];
        }
    }
    norm_rows(x, y, of.rows, width, line, line + width, line + 2 * width, of.top);
}

// Gradients of the input and, (3, channels), of weight, bias and slope.
template <class T>
void norm_back(const T *x, const T *dy, T *dx, const Norm &of, const float *line, const double *moment,
               float *gradient) {
    const int channels = of.channels, width = channels * of.at_once;
    const float *scale = line, *shift = line + width, *slope = line + 2 * width;
    const double pixels = (double)of.rows * of.at_once;
    std::vector<float> pivot(width);
    for (int i = 0; i < width; i++) pivot[i] = moment[i % channels];
    std::vector<double> sums(3 * width);
    norm_sums(x, dy, of.rows, width, pivot.data(), scale, shift, slope, of.top, &sums[0], &sums[width],
              &sums[2 * width]);
    std::vector<float> rest(2 * width);
    for (int c = 0; c < channels; c++) {
        double through = 0, through_x = 0, of_slope = 0;
        for (int i = c; i < width; i += channels)
            through += sums[i], through_x += sums[width + i], of_slope += sums[2 * width + i];
        const double off = moment[c] - pivot[c], deviation = moment[channels + c];  // off: what float32 rounds away
        const double of_weight = (through_x - off * through) / deviation;
        gradient[c] = of_weight, gradient[channels + c] = through, gradient[2 * channels + c] = of_slope;
        const double of_x = -scale[c] * of_weight / deviation / pixels;
        for (int i = c; i < width; i += channels) {
            rest[i] = of_x;
            rest[width + i] = -scale[c] * through / pixels - of_x * off;
        }
    }
    norm_back_rows(x, dy, dx, of.rows, width, pivot.data(), scale, shift, slope, of.top, &rest[0], &rest[width]);
}
