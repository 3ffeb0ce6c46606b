// Float planes (up to four) -> an int8 image of four channels a pixel, with a border of zeros: one row per work-item.
//
// Arguments: in in_image in_row in_plane in_channels in_height in_width out out_image out_row top left out_width scale
//
// Rounds half to even: adding 1.5 * 2^23 leaves no bits behind the point.
STEP(NAME)
{
    UNPACK
    const int y = g0 - top;
    const bool inside = y >= 0 && y < in_height;
    __global const float *from = AT(in) + g2 * in_image + y * in_row;
    __global int *to = (__global int *)AT(out) + g2 * out_image + g0 * out_row;
    const int zeros = (int)0x80808080u;
    const int first = inside ? left : out_width, end = inside ? left + in_width : out_width;
    for (int x = 0; x < first; x++) to[x] = zeros;
    int x = 0;
    for (; inside && x + BLOCK <= in_width; x += BLOCK) {
        iv word = (iv)(zeros);
        for (int c = 0; c < in_channels; c++) {
            const fr v = clipped(LOAD(from + c * in_plane + x) * as_float(scale), -128.0f, 127.0f);
            const iv q = TO_INTS((v + (fr)(12582912.0f)) - (fr)(12582912.0f)) + (iv)(128);
            word ^= (q ^ (iv)(128)) << (iv)(8 * c);
        }
        STORE_INTS(to + left + x, word);
    }
    for (; inside && x < in_width; x++) {
        int word = zeros;
        for (int c = 0; c < in_channels; c++) {
            const float v = clipped1(from[c * in_plane + x] * as_float(scale), -128.0f, 127.0f);
            const int q = (int)((v + 12582912.0f) - 12582912.0f) + 128;
            word ^= (q ^ 128) << (8 * c);
        }
        to[left + x] = word;
    }
    for (int i = end; i < out_width; i++) to[i] = zeros;
}
