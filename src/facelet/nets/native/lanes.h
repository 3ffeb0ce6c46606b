// Some channels at a time: vectors of float, read from and written to tensors of float or bfloat16. The vectors are GCC's
// and Clang's, for any processor; where they are wider than its registers, GCC compares one number at a time.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
constexpr int LANES = 16;
#else
constexpr int LANES = 8;
#endif

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
#ifdef __AVX512BF16__
    const auto h = _mm512_cvtneps_pbh((__m512)v);
#else
    const uvec bits = (uvec)v;
    const half h = __builtin_convertvector((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, half);
#endif
    std::memcpy(y, &h, sizeof h);
}
inline void add(double *sum, vec v, int first = 0) {
    for (int i = first; i < LANES; i++) sum[i] += v[i];
}
