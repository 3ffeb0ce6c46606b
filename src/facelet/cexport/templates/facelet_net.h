/* @NAME@: the embedding of an aligned face, computed with integers. Made by Facelet; see README.md. */
#ifndef FACELET_NET_H
#define FACELET_NET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FACELET_HEIGHT @HEIGHT@
#define FACELET_WIDTH @WIDTH@
#define FACELET_EMBEDDING_SIZE @EMBEDDING_SIZE@

/* Squared distances below which two faces are called the same person, one for each false accept rate of the card. */
@THRESHOLDS@

/*
 * Computes the embedding of one face. Uses one static arena: not for two threads at once.
 *
 * rgb: FACELET_HEIGHT * FACELET_WIDTH * 3 bytes, row after row, each pixel red, green, blue.
 * embedding: FACELET_EMBEDDING_SIZE numbers, a vector of unit length (zeros where all integers are zero), or NULL.
 * integers: FACELET_EMBEDDING_SIZE integers, what the vector is before it is made one of unit length, or NULL.
 *
 * Returns 0, or -1 where rgb is NULL.
 */
int facelet_embed(const uint8_t *rgb, float *embedding, int8_t *integers);

/* Squared Euclidean distance of two embeddings of unit length: 0 for equal ones, 4 at most. */
float facelet_distance(const float *first, const float *second);

#ifdef __cplusplus
}
#endif

#endif
