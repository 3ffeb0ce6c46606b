// What every kernel text starts with. A step is one layer; work-item (g0, g1, g2) of it does one tile.
//
// BLOCK   floats of one vector, and channels that lie side by side in a blocked image (16 with AVX-512, 8 with AVX2)
// VLOAD   1: vload/vstore of the standard (other compilers, GPUs); 0: vector pointers, which PoCL and Intel inline
#pragma OPENCL FP_CONTRACT ON

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#if VLOAD
typedef PASTE(float, BLOCK) fr;
#define LOAD(p) PASTE(vload, BLOCK)(0, (p))
#define STORE(p, v) PASTE(vstore, BLOCK)((v), 0, (p))
#define PRIVATE_LOAD(p) PASTE(vload, BLOCK)(0, (p))
#define PRIVATE_STORE(p, v) PASTE(vstore, BLOCK)((v), 0, (p))
#else
typedef float fv __attribute__((ext_vector_type(BLOCK), aligned(4)));
typedef float fr __attribute__((ext_vector_type(BLOCK)));
#define LOAD(p) (*(__global const fv *)(p))
#define STORE(p, v) (*(__global fv *)(p) = (v))
#define PRIVATE_LOAD(p) (*(const fv *)(p))
#define PRIVATE_STORE(p, v) (*(fv *)(p) = (v))
#endif

// Places are offsets in floats; the two top bits say in which buffer.
#define IN_INPUT 0x40000000
#define IN_OUTPUT 0x20000000
#define PLACE 0x1fffffff
#define AT(o) (((o) & IN_INPUT ? input : (o) & IN_OUTPUT ? output : arena) + ((o) & PLACE))

#define BUFFERS                                                                              \
    __global float *arena, __global float *input, __global float *output,                    \
        __global const float *restrict constants, __global const int *restrict a
#define STEP(name) static inline void name(const int g0, const int g1, const int g2, BUFFERS)

// Activations: 0 none, 1 Relu, 2 Clip(low, high), 3 PRelu(slope), 4 LeakyRelu(low), 5 Sigmoid, 6 HardSwish
#define SIGMOID(v) (1.0f / (1.0f + exp(-(v))))
#define HARDSWISH(v) ((v) * clipped((v) * (1.0f / 6) + 0.5f, 0.0f, 1.0f))

// Limits the wrong way round give the upper one, as ONNX has it.
static inline fr clipped(fr v, const float low, const float high)
{
    v = v < (fr)(low) ? (fr)(low) : v;
    return v > (fr)(high) ? (fr)(high) : v;
}

static inline float clipped1(float v, const float low, const float high)
{
    v = v < low ? low : v;
    return v > high ? high : v;
}

static inline float activated1(const int kind, const float v, const float low, const float high, const float slope)
{
    switch (kind) {
    case 1: return v > 0.0f ? v : 0.0f;
    case 2: return clipped1(v, low, high);
    case 3: return v < 0.0f ? v * slope : v;
    case 4: return v < 0.0f ? v * low : v;
    case 5: return SIGMOID(v);
    case 6: return v * clipped1(v * (1.0f / 6) + 0.5f, 0.0f, 1.0f);
    default: return v;
    }
}

typedef union { fr v; float f[BLOCK]; } lanes; // a lane at a time: vector exp and pow abort on some versions of PoCL

static inline fr powers(const fr v, const fr w)
{
    lanes base, power;
    base.v = v, power.v = w;
    for (int i = 0; i < BLOCK; i++) base.f[i] = pow(base.f[i], power.f[i]);
    return base.v;
}

static inline fr activated(const int kind, fr v, const float low, const float high, const fr slope)
{
    switch (kind) {
    case 1: return v > (fr)(0.0f) ? v : (fr)(0.0f);
    case 2: return clipped(v, low, high);
    case 3: return v < (fr)(0.0f) ? v * slope : v;
    case 4: return v < (fr)(0.0f) ? v * low : v;
    case 5: {
        lanes u;
        u.v = v;
        for (int i = 0; i < BLOCK; i++) u.f[i] = SIGMOID(u.f[i]);
        return u.v;
    }
    case 6: return HARDSWISH(v);
    default: return v;
    }
}
