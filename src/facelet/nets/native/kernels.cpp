// What a training step of a convolutional net does between its dense products, on NHWC tensors of one CPU:
// batch norm with its activation, and depthwise convolutions; forward and backward.
//
// Tensors are float or bfloat16; parameters and arithmetic are float, sums over many rows double.
#include "depthwise.h"
#include "norm.h"

#define EXPORT(T, NAME)                                                                                             \
    extern "C" void norm_##NAME(const T *x, T *y, const Norm *of, const float *weight, const float *bias,           \
                                const float *slope, float *running_mean, float *running_variance, float *line,      \
                                double *moment) {                                                                   \
        norm(x, y, *of, weight, bias, slope, running_mean, running_variance, line, moment);                         \
    }                                                                                                               \
    extern "C" void norm_back_##NAME(const T *x, const T *dy, T *dx, const Norm *of, const float *line,             \
                                     const double *moment, float *gradient) {                                       \
        norm_back(x, dy, dx, *of, line, moment, gradient);                                                          \
    }                                                                                                               \
    extern "C" void depthwise_##NAME(const T *x, const float *w, T *y, int64_t images, const Shape *s) {            \
        depthwise(x, w, y, images, *s);                                                                             \
    }                                                                                                               \
    extern "C" void depthwise_data_##NAME(const T *dy, const float *w, T *dx, int64_t images, const Shape *s) {     \
        depthwise_data(dy, w, dx, images, *s);                                                                      \
    }                                                                                                               \
    extern "C" void depthwise_weight_##NAME(const T *x, const T *dy, double *dw, int64_t images, const Shape *s) {  \
        depthwise_weight(x, dy, dw, images, *s);                                                                    \
    }

EXPORT(float, f32)
EXPORT(bf16, bf16)
