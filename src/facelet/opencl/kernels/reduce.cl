// What is left of axes: one line per work-item.
//
// Arguments: in out size1 in1 out1 size2 in2 out2 size3 in3 out3 n1 r1 n2 r2 n3 r3 n4 r4 out_step epsilon
//
// REDUCE      0: length, 1: sum, 2: mean, 3: largest, 4: smallest
// NORMALISE   0: writes that; 1: writes the line divided by its length (n1 numbers, out_step apart); 2: writes the
//             softmax of the line
//
// sizeK are the axes that stay, inmost first (the outmost takes the rest); nK with strides rK those that are put together.
STEP(NAME)
{
    UNPACK
    int rest = g0, from = 0, to = 0, i;
    i = rest % size1, rest /= size1, from += i * in1, to += i * out1;
    i = rest % size2, rest /= size2, from += i * in2, to += i * out2;
    from += rest * in3, to += rest * out3;
    __global const float *source = AT(in) + from;
    __global float *target = AT(out) + to;
    float sum = REDUCE < 3 ? 0.0f : source[0];
    for (int d = 0; d < n4; d++)
        for (int c = 0; c < n3; c++)
            for (int b = 0; b < n2; b++)
                for (int k = 0; k < n1; k++) {
                    const float v = source[d * r4 + c * r3 + b * r2 + k * r1];
#if REDUCE == 0
                    sum += v * v;
#elif REDUCE == 3
                    sum = v > sum || v != v ? v : sum;
#elif REDUCE == 4
                    sum = v < sum || v != v ? v : sum;
#else
                    sum += v;
#endif
                }
#if NORMALISE == 1
    const float length = max(sqrt(sum), as_float(epsilon));
    for (int k = 0; k < n1; k++) target[k * out_step] = source[k * r1] / length;
#elif NORMALISE == 2
    float whole = 0.0f;
    for (int k = 0; k < n1; k++) whole += exp(source[k * r1] - sum);
    for (int k = 0; k < n1; k++) target[k * out_step] = exp(source[k * r1] - sum) / whole;
#elif REDUCE == 0
    target[0] = sqrt(sum);
#elif REDUCE == 2
    target[0] = sum / (float)(n1 * n2 * n3 * n4);
#else
    target[0] = sum;
#endif
}
