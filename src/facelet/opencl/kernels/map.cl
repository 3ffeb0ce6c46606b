// Number by number: out = f(a, b), with broadcasting, in any order of axes and any layout. One line per work-item.
//
// Arguments: in b out inner in_step b_step out_step size1 in1 b1 out1 size2 in2 b2 out2 size3 in3 b3 out3 size4 in4 b4 out4 size5 in5 b5 out5 low high
//
// F         what is computed: an expression of v and w (w: the second operand)
// WIDTH     1: numbers; BLOCK: vectors
// SECOND    0: no second operand; 1: a tensor; 2: a tensor of which one number serves a whole vector; 3: constants;
//           4: constants of which one number serves a whole vector
//
// A line has `inner` elements, `..._step` apart; sizeK and the strides after it are the axes around it, inmost first.
#ifndef EACH_LANE // lane by lane: see `powers` of prelude.cl
#define EACH_LANE(name, function)              \
    static inline fr name(const fr v)          \
    {                                          \
        lanes u;                               \
        u.v = v;                               \
        for (int i = 0; i < BLOCK; i++) u.f[i] = function(u.f[i]); \
        return u.v;                            \
    }
EACH_LANE(tanh_lanes, tanh)
EACH_LANE(exp_lanes, exp)
EACH_LANE(log_lanes, log)
EACH_LANE(erf_lanes, erf)
#endif
#if WIDTH == 1
#define TYPE float
#define GET(p) (*(p))
#define PUT(p, v) (*(p) = (v))
#define ACTIVATED(kind) activated1(kind, v, as_float(low), as_float(high), w)
#define POWER(v, w) pow(v, w)
#define LANES(function) function(v)
#else
#define TYPE fr
#define GET(p) LOAD(p)
#define PUT(p, v) STORE(p, v)
#define ACTIVATED(kind) activated(kind, v, as_float(low), as_float(high), w)
#define POWER(v, w) powers(v, w)
#define LANES(function) function##_lanes(v)
#endif
// as NumPy has it: what is not a number stays so
#define LARGER(v, w) ((w) > (v) || (w) != (w) ? (w) : (v))
#define SMALLER(v, w) ((w) < (v) || (w) != (w) ? (w) : (v))
STEP(NAME)
{
    UNPACK
    int rest = g0, from = 0, with = 0, to = 0, i;
    i = rest % size1, rest /= size1, from += i * in1, with += i * b1, to += i * out1;
    i = rest % size2, rest /= size2, from += i * in2, with += i * b2, to += i * out2;
    i = rest % size3, rest /= size3, from += i * in3, with += i * b3, to += i * out3;
    i = rest % size4, rest /= size4, from += i * in4, with += i * b4, to += i * out4;
    from += rest * in5, with += rest * b5, to += rest * out5;
    __global const float *source = AT(in) + from;
#if SECOND == 1 || SECOND == 2
    __global const float *second = AT(b) + with;
#elif SECOND == 3 || SECOND == 4
    __global const float *second = constants + b + with;
#endif
    __global float *target = AT(out) + to;
    for (int n = 0; n < inner; n++) {
        const TYPE v = GET(source + n * in_step);
#if SECOND == 1 || SECOND == 3
        const TYPE w = GET(second + n * b_step);
#elif SECOND == 2 || SECOND == 4
        const TYPE w = (TYPE)(second[n * b_step]);
#else
        const TYPE w = v;
#endif
        PUT(target + n * out_step, F);
    }
}
#undef TYPE
#undef ACTIVATED
#undef POWER
#undef LANES
#undef LARGER
#undef SMALLER
#undef GET
#undef PUT
