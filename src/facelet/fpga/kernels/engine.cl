/* The engine: seven single-work-item kernels joined by channels, which run a net's layers from a table in memory.

       read_dense  -> dense     -> post -> write_maps   convolutions, VEC_SIZE x LANE_NUM products per cycle
       read_narrow -> depthwise -> post -> write_maps   one channel in, one channel out, DW_LANES at once
       read_narrow -> pool      ---------> write_maps   the largest of a window, LANE_NUM channels at once

   One source, three builds:

       FACELET_CHANNELS   Intel channels: aoc, and Intel's FPGA emulator
       FACELET_PIPES      pipes as Vitis documents them (UG1393): names of lower-case letters and digits, blocking calls
       neither            queues in global memory: any OpenCL device; the host runs the kernels of a layer in turn

   Settings, from engine_config.h or before this text (each is a number; K stands for the widest of LANE_NUM, DW_LANES):

       VEC_SIZE           input channels that the dense array takes per cycle, and that lie side by side in memory
       LANE_NUM           output channels that it computes at once
       DW_LANES           channels of the depthwise array; 0: not built
       UNIT               greatest common divisor of these: bytes that are read and written together
       GP                 neighbouring output columns that share a window and a weight, at most
       WEIGHT_VECTORS     vectors of VEC_SIZE x LANE_NUM weights that stay on chip
       WINDOW_VECTORS     vectors of VEC_SIZE bytes in each half of the dense array's window
       NARROW_VECTORS     vectors of K bytes in each half of the other window
       NARROW_TAPS        places of the largest depthwise window
       CHANNEL_DEPTH      elements that wait in a channel
       COUNT_TRIPS        1: loops record how often they ran

   Feature maps lie in memory as [channels / VEC_SIZE][row][column][VEC_SIZE] signed bytes; offsets count such vectors. */

#ifndef VEC_SIZE
#include "engine_config.h"
#endif

#define WIDEST (LANE_NUM > DW_LANES ? LANE_NUM : DW_LANES)
#define UNITS (WIDEST / UNIT)

typedef struct { char v[VEC_SIZE]; } vec_t;
typedef struct { char v[UNIT]; } unit_t;
typedef struct { unit_t u[UNITS]; } row_t;
typedef struct { char v[LANE_NUM][VEC_SIZE]; } weights_t;
typedef struct { vec_t x; weights_t w; char column, first, last, spare; } dense_feed_t;
typedef struct { int v[LANE_NUM]; } dense_sums_t;
typedef struct { row_t x; row_t w; char column, first, last, spare; } narrow_feed_t;
typedef struct { int v[WIDEST]; } narrow_sums_t;

#if defined(FACELET_CHANNELS)
#pragma OPENCL EXTENSION cl_intel_channels : enable
#define FIFO(type, name) channel type name __attribute__((depth(CHANNEL_DEPTH)));
#define PORT(type, name)
#define OPEN(name)
#define SEND(name, value) write_channel_intel(name, value)
#define RECEIVE(name, variable) variable = read_channel_intel(name)
#define TASK __attribute__((max_global_work_dim(0))) __kernel
#define SHARED volatile __global
#define FENCE (CLK_GLOBAL_MEM_FENCE | CLK_CHANNEL_MEM_FENCE)
#elif defined(FACELET_PIPES)
#define FIFO(type, name) pipe type name __attribute__((xcl_reqd_pipe_depth(CHANNEL_DEPTH)));
#define PORT(type, name)
#define OPEN(name)
#define SEND(name, value) write_pipe_block(name, &(value))
#define RECEIVE(name, variable) read_pipe_block(name, &(variable))
#define TASK __attribute__((reqd_work_group_size(1, 1, 1))) __kernel
#define SHARED volatile __global
#define FENCE CLK_GLOBAL_MEM_FENCE
#else
#define FACELET_QUEUES
#define FIFO(type, name)
#define PORT(type, name) , __global type *restrict name
#define OPEN(name) int name##at = 0;
#define SEND(name, value) name[name##at++] = value
#define RECEIVE(name, variable) variable = name[name##at++]
#define TASK __attribute__((reqd_work_group_size(1, 1, 1))) __kernel
#define SHARED __global
#endif

#if COUNT_TRIPS
#define COUNT(layer, what, value) counts[(layer) * N_COUNTS + (what)] = value
#else
#define COUNT(layer, what, value)
#endif

FIFO(dense_feed_t, densefeed)
FIFO(dense_sums_t, densesums)
FIFO(row_t, denseresidual)
#if DW_LANES > 0
FIFO(narrow_feed_t, depthfeed)
FIFO(narrow_sums_t, depthsums)
FIFO(row_t, depthresidual)
#endif
FIFO(narrow_feed_t, poolfeed)
FIFO(row_t, pooled)
FIFO(row_t, finished)
FIFO(int, densetoken)
FIFO(int, narrowtoken)

#define LANES(kind) ((kind) == DEPTHWISE ? DW_LANES : LANE_NUM)

/* Unit `u` of the channels from `first` on lies here, at pixel `pixel` of a map of `pixels`. */
int unit_at(int offset, int first, int u, int pixels, int pixel) {
    const int c = first + u * UNIT;
    return ((offset + c / VEC_SIZE * pixels + pixel) * VEC_SIZE + c % VEC_SIZE) / UNIT;
}

/* The dense array's memory unit: while a window is worked on, the next one is read into the other half. */
TASK void read_dense(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts,
                     SHARED vec_t *restrict arena, __global const weights_t *restrict weights
                     PORT(dense_feed_t, densefeed) PORT(row_t, denseresidual)) {
    __local vec_t window[2][WINDOW_VECTORS];
    __local weights_t cache[WEIGHT_VECTORS > 0 ? WEIGHT_VECTORS : 1];
    OPEN(densefeed)
    OPEN(denseresidual)
    for (int l = begin; l < end; l++) {
#ifndef FACELET_QUEUES
        if (l > begin) {
            int token;
            RECEIVE(densetoken, token);
        }
#endif
        const layer_t layer = layers[l];
        if (layer.kind != DENSE) continue;
        const int windows = (layer.out_w + layer.columns - 1) / layer.columns;
        const int total = layer.groups * layer.out_h * windows;
        const int item = layer.deep * layer.kernel_h * layer.kernel_w;
        int group = 0, row = 0, left = 0, columns = 0, width = 0, front = 0;    /* the window that is worked on */
        int next_group = 0, next_row = 0, next_left = 0;                       /* the one that is read */
        int opening = 0, main_trips = 0, idle = 0, loaded = 0;
        for (int w = -1; w < total; w++) {
            const int next_columns = min(layer.columns, layer.out_w - next_left);
            const int next_width = (next_columns - 1) * layer.stride_w + layer.kernel_w;
            const int load = w + 1 < total ? layer.deep * layer.kernel_h * next_width : 0;
            const int work = w < 0 ? 0 : columns * item;
            const int trips = max(load, work);
            const int top = next_row * layer.stride_h - layer.pad_top, side = next_left * layer.stride_w - layer.pad_left;
            const int fresh = !layer.stay || (row == 0 && left == 0);
            int depth = 0, ky = 0, wx = 0;                                     /* of the vector that is read */
            int k = 0, at = 0, kx = 0, kr = 0, column = 0;                     /* of the product */
            weights_t weight;
            /* within one run of the loop the halves are apart, and the cache is written or read, not both */
#pragma ivdep
            for (int i = 0; i < trips; i++) {
                if (i < load) {
                    const int y = top + ky, x = side + wx;
                    vec_t v;
                    if (y >= 0 && y < layer.in_h && x >= 0 && x < layer.in_w) {
                        v = arena[layer.in_offset + (depth * layer.in_h + y) * layer.in_w + x];
                    } else {
#pragma unroll
                        for (int b = 0; b < VEC_SIZE; b++) v.v[b] = 0;
                    }
                    window[1 - front][i] = v;
                    if (++wx == next_width) {
                        wx = 0;
                        if (++ky == layer.kernel_h) {
                            ky = 0;
                            depth++;
                        }
                    }
                }
                if (i < work) {
                    dense_feed_t feed;
                    if (column == 0) {
                        if (fresh) {
                            weight = weights[layer.weights + group * item + k];
                            loaded++;
                            if (layer.stay) cache[k] = weight;
                        } else {
                            weight = cache[k];
                        }
                    }
                    feed.x = window[front][at + column * layer.stride_w];
                    feed.w = weight;
                    feed.column = column;
                    feed.first = k == 0;
                    feed.last = k == item - 1;
                    feed.spare = 0;
                    SEND(densefeed, feed);
                    if (layer.residual && k == item - 1) {
                        SHARED unit_t *units = (SHARED unit_t *)arena;
                        row_t r;
#pragma unroll
                        for (int u = 0; u < UNITS; u++) {
                            if (u * UNIT < LANE_NUM && group * LANE_NUM + u * UNIT < layer.out_blocks * VEC_SIZE)
                                r.u[u] = units[unit_at(layer.residual_offset, group * LANE_NUM, u,
                                                       layer.out_h * layer.out_w, row * layer.out_w + left + column)];
                        }
                        SEND(denseresidual, r);
                    }
                    if (++column == columns) {
                        column = 0;
                        k++;
                        at++;
                        if (++kx == layer.kernel_w) {
                            kx = 0;
                            at = ++kr * width;
                        }
                    }
                }
            }
            opening += w < 0 ? trips : 0;
            main_trips += w < 0 ? 0 : trips;
            idle += w < 0 ? 0 : trips - work;
            front = 1 - front;
            group = next_group;
            row = next_row;
            left = next_left;
            columns = next_columns;
            width = next_width;
            next_left += layer.columns;
            if (next_left >= layer.out_w) {
                next_left = 0;
                if (++next_row == layer.out_h) {
                    next_row = 0;
                    next_group++;
                }
            }
        }
        COUNT(l, OPENING, opening);
        COUNT(l, READER, main_trips);
        COUNT(l, IDLE, idle);
        COUNT(l, WEIGHTS, loaded);
    }
}

/* The memory unit of the depthwise array and of the pools: as `read_dense`, with one vector of channels per pixel. */
TASK void read_narrow(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts,
                      SHARED vec_t *restrict arena, __global const unit_t *restrict weights
                      PORT(narrow_feed_t, depthfeed) PORT(row_t, depthresidual) PORT(narrow_feed_t, poolfeed)) {
    __local row_t window[2][NARROW_VECTORS];
    __local row_t cache[NARROW_TAPS];
    SHARED unit_t *units = (SHARED unit_t *)arena;
    OPEN(depthfeed)
    OPEN(depthresidual)
    OPEN(poolfeed)
    for (int l = begin; l < end; l++) {
#ifndef FACELET_QUEUES
        if (l > begin) {
            int token;
            RECEIVE(narrowtoken, token);
        }
#endif
        const layer_t layer = layers[l];
        if (layer.kind == DENSE) continue;
        const int lanes = LANES(layer.kind);
        const char outside = layer.kind == POOL ? -128 : 0;
        const int windows = (layer.out_w + layer.columns - 1) / layer.columns;
        const int total = layer.groups * layer.out_h * windows;
        const int item = layer.kernel_h * layer.kernel_w;
        int group = 0, row = 0, left = 0, columns = 0, width = 0, front = 0;
        int next_group = 0, next_row = 0, next_left = 0;
        int opening = 0, main_trips = 0, idle = 0, loaded = 0;
        for (int w = -1; w < total; w++) {
            const int next_columns = min(layer.columns, layer.out_w - next_left);
            const int next_width = (next_columns - 1) * layer.stride_w + layer.kernel_w;
            const int load = w + 1 < total ? layer.kernel_h * next_width : 0;
            const int work = w < 0 ? 0 : columns * item;
            const int trips = max(load, work);
            const int top = next_row * layer.stride_h - layer.pad_top, side = next_left * layer.stride_w - layer.pad_left;
            const int fresh = row == 0 && left == 0;
            int ky = 0, wx = 0;
            int k = 0, at = 0, kx = 0, kr = 0, column = 0;
            row_t weight;
#pragma ivdep
            for (int i = 0; i < trips; i++) {
                if (i < load) {
                    const int y = top + ky, x = side + wx;
                    const int inside = y >= 0 && y < layer.in_h && x >= 0 && x < layer.in_w;
                    row_t v;
#pragma unroll
                    for (int u = 0; u < UNITS; u++) {
                        if (inside && u * UNIT < lanes && next_group * lanes + u * UNIT < layer.out_blocks * VEC_SIZE) {
                            v.u[u] = units[unit_at(layer.in_offset, next_group * lanes, u, layer.in_h * layer.in_w,
                                                   y * layer.in_w + x)];
                        } else {
#pragma unroll
                            for (int b = 0; b < UNIT; b++) v.u[u].v[b] = outside;
                        }
                    }
                    window[1 - front][i] = v;
                    if (++wx == next_width) {
                        wx = 0;
                        ky++;
                    }
                }
                if (i < work) {
                    narrow_feed_t feed;
                    if (column == 0 && layer.kind == DEPTHWISE) {
                        if (fresh) {
#pragma unroll
                            for (int u = 0; u < UNITS; u++)
                                if (u * UNIT < DW_LANES)
                                    weight.u[u] = weights[(layer.weights + group * item + k) * (DW_LANES / UNIT) + u];
                            loaded++;
                            cache[k] = weight;
                        } else {
                            weight = cache[k];
                        }
                    }
                    feed.x = window[front][at + column * layer.stride_w];
                    feed.w = weight;
                    feed.column = column;
                    feed.first = k == 0;
                    feed.last = k == item - 1;
                    feed.spare = 0;
                    if (layer.kind == POOL) SEND(poolfeed, feed);
#if DW_LANES > 0
                    if (layer.kind == DEPTHWISE) SEND(depthfeed, feed);
                    if (layer.residual && k == item - 1) {
                        row_t r;
#pragma unroll
                        for (int u = 0; u < UNITS; u++) {
                            if (u * UNIT < lanes && group * lanes + u * UNIT < layer.out_blocks * VEC_SIZE)
                                r.u[u] = units[unit_at(layer.residual_offset, group * lanes, u,
                                                       layer.out_h * layer.out_w, row * layer.out_w + left + column)];
                        }
                        SEND(depthresidual, r);
                    }
#endif
                    if (++column == columns) {
                        column = 0;
                        k++;
                        at++;
                        if (++kx == layer.kernel_w) {
                            kx = 0;
                            at = ++kr * width;
                        }
                    }
                }
            }
            opening += w < 0 ? trips : 0;
            main_trips += w < 0 ? 0 : trips;
            idle += w < 0 ? 0 : trips - work;
            front = 1 - front;
            group = next_group;
            row = next_row;
            left = next_left;
            columns = next_columns;
            width = next_width;
            next_left += layer.columns;
            if (next_left >= layer.out_w) {
                next_left = 0;
                if (++next_row == layer.out_h) {
                    next_row = 0;
                    next_group++;
                }
            }
        }
        COUNT(l, OPENING, opening);
        COUNT(l, READER, main_trips);
        COUNT(l, IDLE, idle);
        COUNT(l, WEIGHTS, loaded);
    }
}

/* The dense array: LANE_NUM dot products of VEC_SIZE bytes per cycle, a sum for each column of the window. */
TASK void dense(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts
                PORT(dense_feed_t, densefeed) PORT(dense_sums_t, densesums)) {
    int sums[GP][LANE_NUM];
    OPEN(densefeed)
    OPEN(densesums)
    for (int l = begin; l < end; l++) {
        const layer_t layer = layers[l];
        if (layer.kind != DENSE) continue;
        const int outputs = layer.groups * layer.out_h * layer.out_w;
        const int trips = outputs * layer.deep * layer.kernel_h * layer.kernel_w;
        for (int i = 0; i < trips; i++) {
            dense_feed_t feed;
            dense_sums_t out;
            RECEIVE(densefeed, feed);
#pragma unroll
            for (int lane = 0; lane < LANE_NUM; lane++) {
                int sum = feed.first ? 0 : sums[feed.column][lane];
#pragma unroll
                for (int v = 0; v < VEC_SIZE; v++) sum += feed.x.v[v] * feed.w.v[lane][v];
                sums[feed.column][lane] = sum;
                out.v[lane] = sum;
            }
            if (feed.last) SEND(densesums, out);
        }
        COUNT(l, ARRAY, trips);
    }
}

#if DW_LANES > 0
/* The depthwise array: DW_LANES products per cycle. */
TASK void depthwise(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts
                    PORT(narrow_feed_t, depthfeed) PORT(narrow_sums_t, depthsums)) {
    int sums[GP][DW_LANES];
    OPEN(depthfeed)
    OPEN(depthsums)
    for (int l = begin; l < end; l++) {
        const layer_t layer = layers[l];
        if (layer.kind != DEPTHWISE) continue;
        const int trips = layer.groups * layer.out_h * layer.out_w * layer.kernel_h * layer.kernel_w;
        for (int i = 0; i < trips; i++) {
            narrow_feed_t feed;
            narrow_sums_t out;
            RECEIVE(depthfeed, feed);
#pragma unroll
            for (int lane = 0; lane < DW_LANES; lane++) {
                const int product = feed.x.u[lane / UNIT].v[lane % UNIT] * feed.w.u[lane / UNIT].v[lane % UNIT];
                const int sum = (feed.first ? 0 : sums[feed.column][lane]) + product;
                sums[feed.column][lane] = sum;
                out.v[lane] = sum;
            }
            if (feed.last) SEND(depthsums, out);
        }
        COUNT(l, ARRAY, trips);
    }
}
#endif

/* Max pools: what lies outside the image is smaller than anything in it. */
TASK void pool(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts
               PORT(narrow_feed_t, poolfeed) PORT(row_t, pooled)) {
    char largest[GP][LANE_NUM];
    OPEN(poolfeed)
    OPEN(pooled)
    for (int l = begin; l < end; l++) {
        const layer_t layer = layers[l];
        if (layer.kind != POOL) continue;
        const int trips = layer.groups * layer.out_h * layer.out_w * layer.kernel_h * layer.kernel_w;
        for (int i = 0; i < trips; i++) {
            narrow_feed_t feed;
            row_t out;
            RECEIVE(poolfeed, feed);
#pragma unroll
            for (int lane = 0; lane < LANE_NUM; lane++) {
                const char before = feed.first ? -128 : largest[feed.column][lane];
                const char found = max(before, feed.x.u[lane / UNIT].v[lane % UNIT]);
                largest[feed.column][lane] = found;
                out.u[lane / UNIT].v[lane % UNIT] = found;
            }
            if (feed.last) SEND(pooled, out);
        }
        COUNT(l, ARRAY, trips);
    }
}

/* `value` over 2^shift, to the nearest integer and of two equally near ones to the even one. */
int rounded(int value, int shift) {
    const int middle = (1 << shift) >> 1;
    return shift ? (value + middle - 1 + ((value >> shift) & 1)) >> shift : value;
}

/* Bias, residual, slope of what is negative, requantization, limits: one vector of sums per cycle. */
TASK void post(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts,
               __global const int *restrict params
               PORT(dense_sums_t, densesums) PORT(row_t, denseresidual)
               PORT(narrow_sums_t, depthsums) PORT(row_t, depthresidual) PORT(row_t, finished)) {
    int own[N_PARAMS][WIDEST];
    OPEN(densesums)
    OPEN(denseresidual)
    OPEN(depthsums)
    OPEN(depthresidual)
    OPEN(finished)
    for (int l = begin; l < end; l++) {
        const layer_t layer = layers[l];
        if (layer.kind == POOL) continue;
        const int lanes = LANES(layer.kind), pixels = layer.out_h * layer.out_w;
        int trips = 0;
        for (int group = 0; group < layer.groups; group++) {
#pragma unroll
            for (int p = 0; p < N_PARAMS; p++) {
#pragma unroll
                for (int lane = 0; lane < WIDEST; lane++)
                    if (lane < lanes) own[p][lane] = params[layer.params + (group * N_PARAMS + p) * lanes + lane];
            }
            for (int i = 0; i < pixels; i++) {
                narrow_sums_t sums;
                row_t r, out;
                if (layer.kind == DENSE) {
                    dense_sums_t received;
                    RECEIVE(densesums, received);
#pragma unroll
                    for (int lane = 0; lane < LANE_NUM; lane++) sums.v[lane] = received.v[lane];
                    if (layer.residual) RECEIVE(denseresidual, r);
                }
#if DW_LANES > 0
                if (layer.kind == DEPTHWISE) {
                    RECEIVE(depthsums, sums);
                    if (layer.residual) RECEIVE(depthresidual, r);
                }
#endif
#pragma unroll
                for (int lane = 0; lane < WIDEST; lane++) {
                    if (lane < lanes) {
                        int acc = sums.v[lane] + own[BIAS][lane];
                        if (layer.residual) acc += r.u[lane / UNIT].v[lane % UNIT] * (1 << own[RESIDUAL_SHIFT][lane]);
                        const int value = acc < 0 ? rounded(acc * own[SLOPE][lane], own[SLOPE_SHIFT][lane])
                                                  : rounded(acc, own[SHIFT][lane]);
                        out.u[lane / UNIT].v[lane % UNIT] = min(max(value, layer.low), layer.high);
                    }
                }
                SEND(finished, out);
                trips++;
            }
        }
        COUNT(l, FINISHED, trips);
    }
}

/* Puts finished vectors where the next layers look for them; concatenation is a matter of the offset. */
TASK void write_maps(__global const layer_t *restrict layers, int begin, int end, __global int *restrict counts,
                     SHARED vec_t *restrict arena PORT(row_t, finished) PORT(row_t, pooled)) {
    SHARED unit_t *units = (SHARED unit_t *)arena;
    OPEN(finished)
    OPEN(pooled)
    for (int l = begin; l < end; l++) {
        const layer_t layer = layers[l];
        const int lanes = LANES(layer.kind), pixels = layer.out_h * layer.out_w, trips = layer.groups * pixels;
        int group = 0, pixel = 0;
        for (int i = 0; i < trips; i++) {
            row_t row;
            if (layer.kind == POOL) {
                RECEIVE(pooled, row);
            } else {
                RECEIVE(finished, row);
            }
#pragma unroll
            for (int u = 0; u < UNITS; u++) {
                if (u * UNIT < lanes && group * lanes + u * UNIT < layer.out_blocks * VEC_SIZE)
                    units[unit_at(layer.out_offset, group * lanes, u, pixels, pixel)] = row.u[u];
            }
            if (++pixel == pixels) {
                pixel = 0;
                group++;
            }
        }
        COUNT(l, WRITTEN, trips);
#ifndef FACELET_QUEUES
        if (l + 1 < end) {
            const int token = l;
            mem_fence(FENCE);
            SEND(densetoken, token);
            SEND(narrowtoken, token);
        }
#endif
    }
}
