// The whole network as one kernel: each work-group takes images in turn and runs all steps of `table` on them, in an
// arena of its own. No two work-groups touch the same image, so no barrier is needed. Checks run the steps one by one.
//
// A step in the table: index of the kernel, its three sizes, then its arguments; `starts` says where each begins.
__attribute__((reqd_work_group_size(1, 1, 1))) __kernel void
net(__global float *arenas, __global float *inputs, __global float *outputs, __global const float *restrict constants,
    __global const int *restrict table, __global const int *restrict starts, const int first_step, const int end_step,
    const int n_images, const int arena_floats, const int input_floats, const int output_floats)
{
    __global float *arena = arenas + (size_t)get_group_id(0) * arena_floats;
    for (int image = get_group_id(0); image < n_images; image += get_num_groups(0)) {
        __global float *input = inputs + (size_t)image * input_floats;
        __global float *output = outputs + (size_t)image * output_floats;
        for (int step = first_step; step < end_step; step++) {
            __global const int *t = table + starts[step], *a = t + 4;
            switch (t[0]) {
                CASES
            }
        }
    }
}
