// Two int8 images, integer by integer: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block second second_image second_row second_block second_pixel out out_image out_row out_block width left right
//
// KIND   0: the product, shifted to the left, then to the right; 1: the larger; 2: the smaller
//
// A stride of the second image is 0 where it is one number for all pixels.
STEP(NAME)
{
    UNPACK
    __global const uchar *from = BYTES_AT(in) + 4 * (g2 * in_image + g1 * in_block + g0 * in_row);
    __global const uchar *other = BYTES_AT(second) + 4 * (g2 * second_image + g1 * second_block + g0 * second_row);
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 * out_block + g0 * out_row);
    for (int x = 0; x < width; x++) {
        const uv a = LOAD_BYTES(from + x * BLOCK), b = LOAD_BYTES(other + 4 * x * second_pixel);
#if KIND == 0
        const iv product = ((TO_INTS(a) - (iv)(128)) * (TO_INTS(b) - (iv)(128))) << (iv)(left);
        STORE_BYTES(to + x * BLOCK, requantized(product, (iv)(right), false, (iv)(0), (iv)(0), -128, 127));
#elif KIND == 1
        STORE_BYTES(to + x * BLOCK, a > b ? a : b);
#else
        STORE_BYTES(to + x * BLOCK, a < b ? a : b);
#endif
    }
}
