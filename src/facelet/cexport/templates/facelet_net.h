/* @NAME@: a network for aligned faces, computed with integers. Made by Facelet; see README.md. */
#ifndef FACELET_NET_H
#define FACELET_NET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FACELET_HEIGHT @HEIGHT@
#define FACELET_WIDTH @WIDTH@
#define FACELET_OUTPUTS @OUTPUTS@

/* Of an output: an integer q of it stands for q / 2^fraction. @TAIL@ */
typedef struct {
    uint16_t height;
    uint16_t width;
    uint16_t channels;
    int8_t fraction;
} facelet_shape;

extern const facelet_shape facelet_shapes[FACELET_OUTPUTS];

/*
 * Runs the network on one image. Uses one static arena: not for two threads at once.
 *
 * rgb: FACELET_HEIGHT * FACELET_WIDTH * 3 bytes, row after row, each pixel red, green, blue.
 *
 * Returns 0, or -1 where rgb is NULL.
 */
int facelet_run(const uint8_t *rgb);

/*
 * Copies an output of the last run.
 *
 * integers: height * width * channels of `facelet_shapes[index]`, row after row, each pixel with all its channels.
 *
 * Returns 0, or -1 where there is no such output or integers is NULL.
 */
int facelet_output(size_t index, int8_t *integers);

/* Of the embedding; 0 where the network is not an embedder, and the rest of this file is left out. */
#define FACELET_EMBEDDING_SIZE @EMBEDDING_SIZE@

#if FACELET_EMBEDDING_SIZE > 0
/* Squared distances below which two faces are called the same person, one for each false accept rate of the card. */
@THRESHOLDS@

/*
 * Computes the embedding of one face. Uses one static arena: not for two threads at once.
 *
 * rgb: as of `facelet_run`.
 * embedding: FACELET_EMBEDDING_SIZE numbers, a vector of unit length (zeros where all integers are zero), or NULL.
 * integers: FACELET_EMBEDDING_SIZE integers, what the vector is before it is made one of unit length, or NULL.
 *
 * Returns 0, or -1 where rgb is NULL.
 */
int facelet_embed(const uint8_t *rgb, float *embedding, int8_t *integers);

/* Squared Euclidean distance of two embeddings of unit length: 0 for equal ones, 4 at most. */
float facelet_distance(const float *first, const float *second);
#endif

#ifdef __cplusplus
}
#endif

#endif
