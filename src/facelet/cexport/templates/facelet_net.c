/*
 * Layers of an int8 network, row by row, in one static arena.
 *
 * An activation is an int8, a sum an int32 below 2^24. A sum becomes an activation by a division by a power of two,
 * rounded to the nearest integer, and to the even one of two that are equally near.
 */
#include "facelet_net.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "facelet_weights.h"

/* C leaves it to the compiler what a negative number shifted to the right is; this code needs the usual answer. */
typedef char facelet_shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

/* Sums that are made before they become activations. */
#define BLOCK 32

static int8_t arena[FACELET_ARENA_BYTES];

static int8_t *row_of(const facelet_tensor *tensor, int32_t y)
{
    return arena + tensor->offset + (size_t)(y % tensor->rows) * tensor->width * tensor->pixel;
}

/* value / 2^shift, rounded half to even; shift is 0 to 30, value below 2^24. */
static inline int32_t shifted(int32_t value, int32_t shift)
{
    const int32_t some = shift > 0;

    return (value + (((int32_t)1 << shift) >> 1) - some + ((value >> shift) & some)) >> shift;
}

/* Sums of n output channels from c on become activations. */
static void finish(const facelet_layer *layer, size_t c, size_t n, const int32_t *restrict sums, int8_t *restrict out)
{
    const uint8_t *restrict shift = layer->shift + c;
    const int32_t low = layer->low, high = layer->high;
    size_t i;

    if (layer->slope != NULL) {
        const int16_t *restrict slope = layer->slope + c;
        const uint8_t *restrict slope_shift = layer->slope_shift + c;

        for (i = 0; i < n; i++) {
            const int32_t factor = slope[i], far = slope_shift[i], near = shift[i];
            const int32_t value = shifted(sums[i] < 0 ? sums[i] * factor : sums[i], sums[i] < 0 ? far : near);
            const int32_t above = value < low ? low : value;
            out[i] = (int8_t)(above > high ? high : above);
        }
    } else {
        for (i = 0; i < n; i++) {
            const int32_t value = shifted(sums[i], shift[i]);
            const int32_t above = value < low ? low : value;
            out[i] = (int8_t)(above > high ? high : above);
        }
    }
}

static void add_residual(const uint8_t *restrict shift, size_t n, const int8_t *restrict residual,
                         int32_t *restrict sums)
{
    size_t i;

    for (i = 0; i < n; i++)
        sums[i] += residual[i] * ((int32_t)1 << shift[i]);
}

/* Adds the products of two windows of n inputs, `step` bytes apart, with the weights of four output channels. */
static void eight_sums(const int8_t *restrict x, size_t step, const int8_t *restrict weights, size_t n,
                       int32_t *restrict sums)
{
    const int8_t *restrict y = x + step;
    const int8_t *restrict w0 = weights;
    const int8_t *restrict w1 = weights + n;
    const int8_t *restrict w2 = weights + 2 * n;
    const int8_t *restrict w3 = weights + 3 * n;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        s0 += x[i] * w0[i];
        s1 += x[i] * w1[i];
        s2 += x[i] * w2[i];
        s3 += x[i] * w3[i];
        t0 += y[i] * w0[i];
        t1 += y[i] * w1[i];
        t2 += y[i] * w2[i];
        t3 += y[i] * w3[i];
    }
    sums[0] += s0;
    sums[1] += s1;
    sums[2] += s2;
    sums[3] += s3;
    sums[BLOCK] += t0;
    sums[BLOCK + 1] += t1;
    sums[BLOCK + 2] += t2;
    sums[BLOCK + 3] += t3;
}

/* Adds the products of n inputs with the weights of four output channels. */
static void four_sums(const int8_t *restrict x, const int8_t *restrict weights, size_t n, int32_t *restrict sums)
{
    const int8_t *restrict w0 = weights;
    const int8_t *restrict w1 = weights + n;
    const int8_t *restrict w2 = weights + 2 * n;
    const int8_t *restrict w3 = weights + 3 * n;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        s0 += x[i] * w0[i];
        s1 += x[i] * w1[i];
        s2 += x[i] * w2[i];
        s3 += x[i] * w3[i];
    }
    sums[0] += s0;
    sums[1] += s1;
    sums[2] += s2;
    sums[3] += s3;
}

static int32_t one_sum(const int8_t *restrict x, const int8_t *restrict weights, size_t n)
{
    int32_t sum = 0;
    size_t i;

    for (i = 0; i < n; i++)
        sum += x[i] * weights[i];
    return sum;
}

/*
 * Convolves windows that lie in memory as the weights of a group do: count of them, `step` bytes apart, of n inputs
 * each. They go in pairs, so that a weight is read once for two of them.
 */
static void dense(const facelet_layer *layer, size_t group, const int8_t *windows, size_t step, size_t count, size_t n,
                  int8_t *out, size_t out_pixel, const int8_t *residual, size_t residual_pixel)
{
    const size_t channels = facelet_tensors[layer->out].channels / layer->groups;
    const size_t end = (group + 1) * channels;
    size_t c, i, j, k, l, pair;

    for (c = group * channels; c < end; c += BLOCK) {
        const size_t block = end - c < BLOCK ? end - c : BLOCK;
        const int8_t *weights = layer->weights + c * n;

        for (i = 0; i < count; i += pair) {
            const int8_t *x = windows + i * step;
            int32_t sums[2 * BLOCK];

            pair = count - i < 2 ? 1 : 2;
            for (k = 0; k < pair; k++)
                memcpy(sums + k * BLOCK, layer->bias + c, block * sizeof sums[0]);
            for (j = 0; j + 4 <= block; j += 4) {
                if (pair == 2)
                    eight_sums(x, step, weights + j * n, n, sums + j);
                else
                    four_sums(x, weights + j * n, n, sums + j);
            }
            for (k = 0; k < pair; k++) {
                for (l = j; l < block; l++)
                    sums[k * BLOCK + l] += one_sum(x + k * step, weights + l * n, n);
                if (residual != NULL)
                    add_residual(layer->residual_shift + c, block, residual + (i + k) * residual_pixel + c,
                                 sums + k * BLOCK);
                finish(layer, c, block, sums + k * BLOCK, out + (i + k) * out_pixel + c);
            }
        }
    }
}

/* Copies a group's window of output column `column` to `patch`; what lies outside the image is zero. */
static void gather(const facelet_layer *layer, size_t group, int32_t y, int32_t column, int8_t *patch)
{
    const facelet_tensor *x = &facelet_tensors[layer->x];
    const size_t channels = x->channels / layer->groups;
    const int32_t first = column * layer->stride_w - layer->left;
    int32_t i, j;

    for (i = 0; i < layer->kernel_h; i++) {
        const int32_t row = y * layer->stride_h - layer->top + i * layer->dilation_h;
        const int8_t *pixels = row < 0 || row >= x->height ? NULL : row_of(x, row) + group * channels;

        for (j = 0; j < layer->kernel_w; j++) {
            const int32_t place = first + j * layer->dilation_w;

            if (pixels != NULL && place >= 0 && place < x->width)
                memcpy(patch, pixels + (size_t)place * x->pixel, channels);
            else
                memset(patch, 0, channels);
            patch += channels;
        }
    }
}

static void dense_row(const facelet_layer *layer, int32_t y, int8_t *patches)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const size_t channels = x->channels / layer->groups;
    const size_t n = (size_t)layer->kernel_h * layer->kernel_w * channels;
    int8_t *out = row_of(to, y);
    const int8_t *residual = NULL;
    size_t residual_pixel = 0, column, group, i;

    if (layer->residual != FACELET_NONE) {
        residual = row_of(&facelet_tensors[layer->residual], y);
        residual_pixel = facelet_tensors[layer->residual].pixel;
    }
    for (group = 0; group < layer->groups; group++) {
        if (layer->kind == FACELET_POINTWISE) {
            dense(layer, group, row_of(x, y * layer->stride_h) + group * channels, (size_t)layer->stride_w * x->pixel,
                  to->width, n, out, to->pixel, residual, residual_pixel);
            continue;
        }
        for (column = 0; column < to->width; column += FACELET_PATCHES) {
            const size_t left = to->width - column;
            const size_t count = left < FACELET_PATCHES ? left : FACELET_PATCHES;

            for (i = 0; i < count; i++)
                gather(layer, group, y, (int32_t)(column + i), patches + i * n);
            dense(layer, group, patches, n, count, n, out + column * to->pixel, to->pixel,
                  residual == NULL ? NULL : residual + column * residual_pixel, residual_pixel);
        }
    }
}

static void add_products(const int8_t *restrict x, const int8_t *restrict weights, size_t n, int32_t *restrict sums)
{
    size_t i;

    for (i = 0; i < n; i++)
        sums[i] += x[i] * weights[i];
}

/* Of a window's `kernel` places, `step` apart from `first` on, those within `size`: from *begin to before *end. */
static void clip_window(int32_t first, int32_t kernel, int32_t step, int32_t size, int32_t *begin, int32_t *end)
{
    const int32_t inside = first < size ? (size - first + step - 1) / step : 0;

    *begin = first < 0 ? (-first + step - 1) / step : 0;
    *end = inside < kernel ? inside : kernel;
}

static void depthwise_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const int32_t above = y * layer->stride_h - layer->top;
    int32_t top, bottom, left, right, column, i, j;
    size_t c;

    clip_window(above, layer->kernel_h, layer->dilation_h, x->height, &top, &bottom);
    for (column = 0; column < to->width; column++) {
        const int32_t first = column * layer->stride_w - layer->left;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        clip_window(first, layer->kernel_w, layer->dilation_w, x->width, &left, &right);
        for (c = 0; c < to->channels; c += BLOCK) {
            const size_t block = to->channels - c < BLOCK ? to->channels - c : BLOCK;
            int32_t sums[BLOCK];

            memcpy(sums, layer->bias + c, block * sizeof sums[0]);
            for (i = top; i < bottom; i++) {
                const int8_t *pixels = row_of(x, above + i * layer->dilation_h) + c;
                const int8_t *weights = layer->weights + (size_t)i * layer->kernel_w * to->channels + c;

                for (j = left; j < right; j++)
                    add_products(pixels + (size_t)(first + j * layer->dilation_w) * x->pixel,
                                 weights + (size_t)j * to->channels, block, sums);
            }
            if (layer->residual != FACELET_NONE) {
                const facelet_tensor *residual = &facelet_tensors[layer->residual];
                const int8_t *more = row_of(residual, y) + (size_t)column * residual->pixel + c;

                add_residual(layer->residual_shift + c, block, more, sums);
            }
            finish(layer, c, block, sums, out + c);
        }
    }
}

static void max_of(const int8_t *restrict x, size_t n, int8_t *restrict out)
{
    size_t i;

    for (i = 0; i < n; i++)
        out[i] = x[i] > out[i] ? x[i] : out[i];
}

static void max_pool_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const int32_t above = y * layer->stride_h - layer->top;
    int32_t top, bottom, left, right, column, i, j;

    clip_window(above, layer->kernel_h, layer->dilation_h, x->height, &top, &bottom);
    for (column = 0; column < to->width; column++) {
        const int32_t first = column * layer->stride_w - layer->left;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        clip_window(first, layer->kernel_w, layer->dilation_w, x->width, &left, &right);
        memset(out, INT8_MIN, to->channels);
        for (i = top; i < bottom; i++)
            for (j = left; j < right; j++)
                max_of(row_of(x, above + i) + (size_t)(first + j) * x->pixel, to->channels, out);
    }
}

static void copy_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const int32_t row = y - layer->top;
    int32_t column;

    for (column = 0; column < to->width; column++) {
        const int32_t place = column - layer->left;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        if (row >= 0 && row < x->height && place >= 0 && place < x->width)
            memcpy(out, row_of(x, row) + (size_t)place * x->pixel, to->channels);
        else
            memset(out, 0, to->channels);
    }
}

static void table_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const int8_t *table = layer->weights - INT8_MIN;
    int32_t column, c;

    for (column = 0; column < to->width; column++) {
        const int8_t *from = row_of(x, y) + (size_t)column * x->pixel;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        for (c = 0; c < to->channels; c++)
            out[c] = table[from[c]];
    }
}

/* What a pair of integers makes. */
static int8_t of_pair(const facelet_layer *layer, int32_t a, int32_t b)
{
    int32_t value;

    if (layer->kind == FACELET_LARGER)
        return (int8_t)(a > b ? a : b);
    if (layer->kind == FACELET_SMALLER)
        return (int8_t)(a < b ? a : b);
    value = shifted(a * b * ((int32_t)1 << layer->residual_shift[0]), layer->shift[0]);
    return (int8_t)(value < INT8_MIN ? INT8_MIN : value > INT8_MAX ? INT8_MAX : value);
}

static void pair_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    const facelet_tensor *second = &facelet_tensors[layer->residual];
    const int everywhere = second->height == 1 && second->width == 1;
    int32_t column, c;

    for (column = 0; column < to->width; column++) {
        const int8_t *a = row_of(x, y) + (size_t)column * x->pixel;
        const int8_t *b = everywhere ? row_of(second, 0) : row_of(second, y) + (size_t)column * second->pixel;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        for (c = 0; c < to->channels; c++)
            out[c] = of_pair(layer, a[c], b[c]);
    }
}

static void repeat_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    int32_t column;

    for (column = 0; column < to->width; column++)
        memcpy(row_of(to, y) + (size_t)column * to->pixel,
               row_of(x, y / layer->repeat_h) + (size_t)(column / layer->repeat_w) * x->pixel, to->channels);
}

static void channels_row(const facelet_layer *layer, int32_t y)
{
    const facelet_tensor *x = &facelet_tensors[layer->x], *to = &facelet_tensors[layer->out];
    int32_t column, c;

    for (column = 0; column < to->width; column++) {
        const int8_t *from = row_of(x, y) + (size_t)column * x->pixel;
        int8_t *out = row_of(to, y) + (size_t)column * to->pixel;

        for (c = 0; c < to->channels; c++)
            out[c] = from[layer->order[c]];
    }
}

static void input_row(const facelet_layer *layer, int32_t y, const uint8_t *rgb)
{
    const facelet_tensor *to = &facelet_tensors[layer->out];
    const uint8_t *pixel = rgb + (size_t)y * FACELET_WIDTH * 3;
    int8_t *out = row_of(to, y);
    int32_t column, c;

    for (column = 0; column < to->width; column++, pixel += 3, out += to->pixel)
        for (c = 0; c < 3; c++)
            out[c] = facelet_pixels[c][pixel[facelet_colors[c]]];
}

static void make_row(const facelet_layer *layer, int32_t y, const uint8_t *rgb, int8_t *patches)
{
    switch (layer->kind) {
    case FACELET_INPUT:
        input_row(layer, y, rgb);
        break;
    case FACELET_POINTWISE:
    case FACELET_DENSE:
        dense_row(layer, y, patches);
        break;
    case FACELET_DEPTHWISE:
        depthwise_row(layer, y);
        break;
    case FACELET_MAXPOOL:
        max_pool_row(layer, y);
        break;
    case FACELET_TABLE:
        table_row(layer, y);
        break;
    case FACELET_MULTIPLY:
    case FACELET_LARGER:
    case FACELET_SMALLER:
        pair_row(layer, y);
        break;
    case FACELET_REPEAT:
        repeat_row(layer, y);
        break;
    case FACELET_CHANNELS:
        channels_row(layer, y);
        break;
    default:
        copy_row(layer, y);
        break;
    }
}

/* Rows of its input that must be there before a layer can make row y. */
static int32_t rows_needed(const facelet_layer *layer, int32_t y)
{
    const int32_t height = facelet_tensors[layer->x].height;
    const int32_t reach = layer->dilation_h * (layer->kernel_h - 1) + 1;
    const int32_t end = y / layer->repeat_h * layer->stride_h - layer->top + reach;

    return end < height ? end : height;
}

/* Makes all rows of a chain's last tensor; each layer makes a row when the next one needs it. */
static void run_chain(const facelet_chain *chain, const uint8_t *rgb)
{
    const facelet_layer *layers = &facelet_layers[chain->first];
    const size_t last = (size_t)chain->count - 1;
    int32_t done[FACELET_LONGEST_CHAIN] = {0};

    while (done[last] < facelet_tensors[layers[last].out].height) {
        size_t i = last;

        while (i > 0 && done[i - 1] < rows_needed(&layers[i], done[i]))
            i--;
        make_row(&layers[i], done[i], rgb, arena + chain->patches);
        done[i]++;
    }
}

int facelet_run(const uint8_t *rgb)
{
    size_t i;

    if (rgb == NULL)
        return -1;
    for (i = 0; i < FACELET_CHAINS; i++)
        run_chain(&facelet_chains[i], rgb);
    return 0;
}

int facelet_output(size_t index, int8_t *integers)
{
    const facelet_tensor *tensor;
    int32_t y, x;

    if (index >= FACELET_OUTPUTS || integers == NULL)
        return -1;
    tensor = &facelet_tensors[facelet_last[index]];
    for (y = 0; y < tensor->height; y++)
        for (x = 0; x < tensor->width; x++, integers += tensor->channels)
            memcpy(integers, row_of(tensor, y) + (size_t)x * tensor->pixel, tensor->channels);
    return 0;
}

#if FACELET_EMBEDDING_SIZE > 0
int facelet_embed(const uint8_t *rgb, float *embedding, int8_t *integers)
{
    const int8_t *found;
    int32_t squares = 0;
    size_t i;

    if (facelet_run(rgb) != 0)
        return -1;
    found = row_of(&facelet_tensors[facelet_last[0]], 0);
    if (integers != NULL)
        memcpy(integers, found, FACELET_EMBEDDING_SIZE);
    if (embedding == NULL)
        return 0;
    for (i = 0; i < FACELET_EMBEDDING_SIZE; i++)
        squares += found[i] * found[i];
    for (i = 0; i < FACELET_EMBEDDING_SIZE; i++)
        embedding[i] = squares == 0 ? 0.0f : (float)found[i] / sqrtf((float)squares);
    return 0;
}

float facelet_distance(const float *first, const float *second)
{
    float total = 0.0f;
    size_t i;

    for (i = 0; i < FACELET_EMBEDDING_SIZE; i++) {
        const float apart = first[i] - second[i];
        total += apart * apart;
    }
    return total;
}
#endif
