// Integers of 8 bits lie as bytes with 128 added, IN_BLOCK channels of a pixel side by side (BLOCK, or 4 in an input
// image). Strides count words of four bytes. What is computed: facelet/graph/int8.py.
#if VLOAD
typedef PASTE(int, BLOCK) iv;
typedef PASTE(uchar, BLOCK) uv;
#define LOAD_INTS(p) PASTE(vload, BLOCK)(0, (p))
#define STORE_INTS(p, v) PASTE(vstore, BLOCK)((v), 0, (p))
#define LOAD_BYTES(p) PASTE(vload, BLOCK)(0, (p))
#define STORE_BYTES(p, v) PASTE(vstore, BLOCK)((v), 0, (p))
#define TO_INTS(v) PASTE(convert_int, BLOCK)(v)
#define TO_FLOATS(v) PASTE(convert_float, BLOCK)(v)
#define TO_BYTES(v) PASTE(convert_uchar, BLOCK)(v)
#else
typedef int iv __attribute__((ext_vector_type(BLOCK)));
typedef uchar uv __attribute__((ext_vector_type(BLOCK)));
typedef int ivu __attribute__((ext_vector_type(BLOCK), aligned(4)));
typedef uchar uvu __attribute__((ext_vector_type(BLOCK), aligned(4)));
#define LOAD_INTS(p) (*(__global const ivu *)(p))
#define STORE_INTS(p, v) (*(__global ivu *)(p) = (v))
#define LOAD_BYTES(p) (*(__global const uvu *)(p))
#define STORE_BYTES(p, v) (*(__global uvu *)(p) = (v))
#define TO_INTS(v) __builtin_convertvector(v, iv)
#define TO_FLOATS(v) __builtin_convertvector(v, fr)
#define TO_BYTES(v) __builtin_convertvector(v, uv)
#endif
#define BYTES_AT(o) ((__global uchar *)AT(o))
#define INTS(o) ((__global const int *)constants + (o))

// Sums -> bytes: slopes for negative sums, a shift that rounds half to even, limits.
static inline uv requantized(iv sum, iv shift, const bool slopes, const iv slope, const iv slope_shift, const int low, const int high)
{
    if (slopes) {
        const iv negative = sum < (iv)(0);
        sum = negative ? sum * slope : sum;
        shift = negative ? shift + slope_shift : shift;
    }
    const iv middle = ((iv)(1) << shift) >> (iv)(1);
    const iv odd = middle > (iv)(0) ? (iv)(1) : (iv)(0);
    sum = (sum + middle - odd + (odd & (sum >> shift))) >> shift;
    sum = sum < (iv)(low) ? (iv)(low) : sum;
    sum = sum > (iv)(high) ? (iv)(high) : sum;
    return TO_BYTES(sum + (iv)(128));
}
