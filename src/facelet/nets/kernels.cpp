// What a training step of a convolutional net does between its dense products, on NHWC tensors of one CPU:
// batch norm with its activation, and depthwise convolutions; forward and backward.
//
// Rows are the pixels of all images. Tensors are float or bfloat16; channels a multiple of LANES, for depthwise
// convolutions no fewer than LANES; parameters and arithmetic are float, sums over many rows double. The vectors are
// GCC's and Clang's, for any processor.
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr int LANES = 16;
constexpr int BLOCK = 128;  // rows that are summed in float before they go into a double

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t half __attribute__((vector_size(2 * LANES)));
typedef uint16_t bf16;

inline vec get(const float *x) {
    vec v;
    std::memcpy(&v, x, sizeof v);
    return v;
}
inline vec get(const bf16 *x) {
    half h;
    std::memcpy(&h, x, sizeof h);
    return (vec)(__builtin_convertvector(h, uvec) << 16);
}
inline void put(float *y, vec v) { std::memcpy(y, &v, sizeof v); }
inline void put(bf16 *y, vec v) {  // to nearest, ties to even
    const uvec bits = (uvec)v;
    const half h = __builtin_convertvector((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, half);
    std::memcpy(y, &h, sizeof h);
}
inline void add(double *sum, vec v, int first = 0) {
    for (int i = first; i < LANES; i++) sum[i] += v[i];
}

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

template <class T>
void moments(const T *x, int64_t rows, int channels, double *sum, double *square) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t stop = std::min(rows, start + BLOCK);
        for (int c = 0; c < channels; c += LANES) {
            vec s{}, q{};
            for (int64_t row = start; row < stop; row++) {
                const vec value = get(x + row * channels + c);
                s += value;
                q += value * value;
            }
            add(sum + c, s);
            add(square + c, q);
        }
    }
}

template <class T>
void norm(const T *x, T *y, int64_t rows, int channels, const float *scale, const float *shift, const float *slope,
          float top) {
    for (int64_t row = 0; row < rows; row++, x += channels, y += channels)
        for (int c = 0; c < channels; c += LANES)
            put(y + c, activate(get(x + c) * get(scale + c) + get(shift + c), get(slope + c), top));
}

template <class T>
void norm_sums(const T *x, const T *dy, int64_t rows, int channels, const float *scale, const float *shift,
               const float *slope, float top, double *of_g, double *of_gx, double *of_slope) {
    for (int64_t start = 0; start < rows; start += BLOCK) {
        const int64_t stop = std::min(rows, start + BLOCK);
        for (int c = 0; c < channels; c += LANES) {
            const vec a = get(scale + c), b = get(shift + c), p = get(slope + c);
            vec g{}, gx{}, gs{};
            for (int64_t row = start; row < stop; row++) {
                const vec value = get(x + row * channels + c), incoming = get(dy + row * channels + c);
                const vec v = value * a + b, through = pass(incoming, v, p, top);
                g += through;
                gx += through * value;
                gs += v > 0 ? vec{} : incoming * v;
            }
            add(of_g + c, g);
            add(of_gx + c, gx);
            add(of_slope + c, gs);
        }
    }
}

template <class T>
void norm_back(const T *x, const T *dy, T *dx, int64_t rows, int channels, const float *scale, const float *shift,
               const float *slope, float top, const float *of_x, const float *offset) {
    for (int64_t row = 0; row < rows; row++, x += channels, dy += channels, dx += channels)
        for (int c = 0; c < channels; c += LANES) {
            const vec value = get(x + c), a = get(scale + c), v = value * a + get(shift + c);
            const vec through = pass(get(dy + c), v, get(slope + c), top);
            put(dx + c, a * through + get(of_x + c) * value + get(offset + c));
        }
}

struct Shape {
    int height, width, channels, kernel, stride, pad, out_height, out_width;
};

// Outputs of a depthwise convolution; weight is (kernel * kernel, channels).
template <class T>
void depthwise(const T *x, const float *weight, T *y, int64_t images, const Shape &s) {
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
    for (int64_t n = 0; n < images; n++)
        for (int next = 0; next < s.channels; next += LANES)
            for (int ky = 0; ky < s.kernel; ky++)
                for (int kx0 = 0; kx0 < s.kernel; kx0 += 3) {  // three sums at a time share the gradients that are read
                    const int c = std::min(next, s.channels - LANES);
                    vec sum[3]{};
                    const int kx1 = std::min(s.kernel, kx0 + 3);
                    for (int oy = 0; oy < s.out_height; oy++) {
                        const int iy = oy * s.stride - s.pad + ky;
                        if (iy < 0 || iy >= s.height) continue;
                        const T *row = x + (n * s.height + iy) * s.width * s.channels + c;
                        const T *in = dy + (n * s.out_height + oy) * s.out_width * s.channels + c;
                        for (int ox = 0; ox < s.out_width; ox++, in += s.channels) {
                            const vec gradient = get(in);
                            const int left = ox * s.stride - s.pad;
                            for (int kx = kx0; kx < kx1; kx++)
                                if (left + kx >= 0 && left + kx < s.width)
                                    sum[kx - kx0] += get(row + (left + kx) * s.channels) * gradient;
                        }
                    }
                    for (int kx = kx0; kx < kx1; kx++) add(dw + (ky * s.kernel + kx) * s.channels + c, sum[kx - kx0], next - c);
                }
}

}  // namespace

#define EXPORT(T, NAME)                                                                                             \
    extern "C" void moments_##NAME(const T *x, int64_t rows, int channels, double *sum, double *square) {           \
        moments(x, rows, channels, sum, square);                                                                    \
    }                                                                                                               \
    extern "C" void norm_##NAME(const T *x, T *y, int64_t rows, int channels, const float *scale,                   \
                                const float *shift, const float *slope, float top) {                                \
        norm(x, y, rows, channels, scale, shift, slope, top);                                                       \
    }                                                                                                               \
    extern "C" void norm_sums_##NAME(const T *x, const T *dy, int64_t rows, int channels, const float *scale,       \
                                     const float *shift, const float *slope, float top, double *g, double *gx,      \
                                     double *gs) {                                                                  \
        norm_sums(x, dy, rows, channels, scale, shift, slope, top, g, gx, gs);                                      \
    }                                                                                                               \
    extern "C" void norm_back_##NAME(const T *x, const T *dy, T *dx, int64_t rows, int channels,                    \
                                     const float *scale, const float *shift, const float *slope, float top,         \
                                     const float *of_x, const float *offset) {                                      \
        norm_back(x, dy, dx, rows, channels, scale, shift, slope, top, of_x, offset);                               \
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
