/* What facelet_net.c knows of the network: types of its tables, and their sizes. Made by Facelet. */
#ifndef FACELET_WEIGHTS_H
#define FACELET_WEIGHTS_H

#include <stdint.h>

#define FACELET_ARENA_BYTES @ARENA_BYTES@
#define FACELET_CHAINS @CHAINS@
#define FACELET_LONGEST_CHAIN @LONGEST_CHAIN@
#define FACELET_PATCHES @PATCHES@

/* In place of the index of a tensor that is not there. */
#define FACELET_NONE 65535

/* An int8 image in the arena. Row y lies where row y % rows does. */
typedef struct {
    uint32_t offset;   /* of its first byte */
    uint16_t height;
    uint16_t width;
    uint16_t channels;
    uint16_t pixel;    /* bytes from one pixel to the next; more than channels in a part of a concatenation */
    uint16_t rows;     /* that are kept */
} facelet_tensor;

/* A pointwise convolution is a dense one of 1x1 windows and without a border. */
typedef enum {
    FACELET_INPUT,
    FACELET_POINTWISE,
    FACELET_DENSE,
    FACELET_DEPTHWISE,
    FACELET_MAXPOOL,
    FACELET_COPY,
    FACELET_TABLE,     /* an entry for each integer */
    FACELET_MULTIPLY,  /* two tensors, or a tensor and one number per channel */
    FACELET_LARGER,
    FACELET_SMALLER,
    FACELET_REPEAT,    /* every pixel becomes a rectangle */
    FACELET_CHANNELS   /* channels in another order */
} facelet_kind;

/* What makes the rows of one tensor. */
typedef struct {
    const int8_t *weights;          /* dense: [out][kh][kw][in of a group]; depthwise: [kh][kw][channel]; table: [256] */
    const int32_t *bias;            /* these and the following: one per output channel */
    const uint8_t *shift;
    const int16_t *slope;           /* of negative sums; NULL without slopes */
    const uint8_t *slope_shift;     /* shift of negative sums */
    const uint8_t *residual_shift;  /* to the left */
    const uint16_t *order;          /* channel of the input that each channel of the output is */
    uint16_t x;                     /* indices of tensors */
    uint16_t out;
    uint16_t residual;              /* or the second of a pair */
    uint16_t groups;
    uint8_t kind;
    uint8_t kernel_h;
    uint8_t kernel_w;
    uint8_t stride_h;
    uint8_t stride_w;
    uint8_t dilation_h;
    uint8_t dilation_w;
    uint8_t repeat_h;
    uint8_t repeat_w;
    uint8_t top;                    /* of the border; a copy adds it to its output */
    uint8_t left;
    int8_t low;
    int8_t high;
} facelet_layer;

/* Layers that run row by row, each reading the one before it. */
typedef struct {
    uint32_t patches;  /* offset of the windows that lie side by side */
    uint16_t first;    /* index of a layer */
    uint16_t count;
} facelet_chain;

extern const facelet_tensor facelet_tensors[];
extern const facelet_layer facelet_layers[];
extern const facelet_chain facelet_chains[FACELET_CHAINS];

/* Indices of the tensors that are outputs. */
extern const uint16_t facelet_last[];

/* The integer of each pixel value, for each channel of the network's input. */
extern const int8_t facelet_pixels[3][256];

/* Which of red, green, blue each channel of the network's input is. */
extern const uint8_t facelet_colors[3];

#endif
