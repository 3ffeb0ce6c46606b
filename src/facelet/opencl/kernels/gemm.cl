// Dense layer: BLOCK outputs of one row per work-item.
//
// Arguments: in in_row out out_row size columns weights bias
//
// Weights: [columns / BLOCK][size][BLOCK]. Four sums hide the latency of the additions. The last block may hold fewer
// columns than BLOCK; nothing is written beyond them.
STEP(NAME)
{
    UNPACK
    __global const float *x = AT(in) + g1 * in_row;
    __global const float *w = constants + weights + g0 * BLOCK * size;
    __global float *to = AT(out) + g1 * out_row + g0 * BLOCK;
    fr s0 = LOAD(constants + bias + g0 * BLOCK), s1 = (fr)(0.0f), s2 = (fr)(0.0f), s3 = (fr)(0.0f);
    int k = 0;
    for (; k + 4 <= size; k += 4, w += 4 * BLOCK) {
        s0 += x[k] * LOAD(w);
        s1 += x[k + 1] * LOAD(w + BLOCK);
        s2 += x[k + 2] * LOAD(w + 2 * BLOCK);
        s3 += x[k + 3] * LOAD(w + 3 * BLOCK);
    }
    for (; k < size; k++, w += BLOCK) s0 += x[k] * LOAD(w);
    const fr sum = (s0 + s1) + (s2 + s3);
    if (columns - g0 * BLOCK >= BLOCK) {
        STORE(to, sum);
    } else {
        lanes u;
        u.v = sum;
        for (int i = 0; i < columns - g0 * BLOCK; i++) to[i] = u.f[i];
    }
}
