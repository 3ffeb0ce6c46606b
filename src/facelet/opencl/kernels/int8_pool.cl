// The largest integer of each window: one row of one block per work-item.
//
// Arguments: in in_image in_row in_block in_height in_width out out_image out_row out_block out_width kernel_h kernel_w stride_h stride_w top left
STEP(NAME)
{
    UNPACK
    const int y = g0 * stride_h - top, first = max(0, -y), end = min(kernel_h, in_height - y);
    __global const uchar *image = BYTES_AT(in) + 4 * (g2 * in_image + g1 * in_block);
    __global uchar *to = BYTES_AT(out) + 4 * (g2 * out_image + g1 * out_block + g0 * out_row);
    for (int column = 0; column < out_width; column++) {
        const int x = column * stride_w - left, start = max(0, -x), stop = min(kernel_w, in_width - x);
        uv largest = (uv)(0);
        for (int ky = first; ky < end; ky++)
            for (int kx = start; kx < stop; kx++) {
                const uv v = LOAD_BYTES(image + 4 * (y + ky) * in_row + (x + kx) * BLOCK);
                largest = v > largest ? v : largest;
            }
        STORE_BYTES(to + column * BLOCK, largest);
    }
}
