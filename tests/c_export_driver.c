/* Reads images of the network's size from standard input, one behind the other; writes the integers and the embedding
 * of each; on standard error the milliseconds that an image took. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "facelet_net.h"

int main(void)
{
    static uint8_t rgb[FACELET_HEIGHT * FACELET_WIDTH * 3];
    struct timespec begun, ended;
    double total_s = 0.0;
    long count = 0;

    while (fread(rgb, 1, sizeof rgb, stdin) == sizeof rgb) {
        float embedding[FACELET_EMBEDDING_SIZE], apart;
        int8_t integers[FACELET_EMBEDDING_SIZE];

        clock_gettime(CLOCK_MONOTONIC, &begun);
        if (facelet_embed(rgb, embedding, integers) != 0)
            return 1;
        clock_gettime(CLOCK_MONOTONIC, &ended);
        total_s += (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
        count++;
        apart = facelet_distance(embedding, embedding);
        if (apart != 0.0f || facelet_embed(NULL, embedding, integers) == 0)
            return 1;
        fwrite(integers, sizeof integers[0], FACELET_EMBEDDING_SIZE, stdout);
        fwrite(embedding, sizeof embedding[0], FACELET_EMBEDDING_SIZE, stdout);
    }
    fprintf(stderr, "%.3f\n", count ? 1e3 * total_s / (double)count : 0.0);
    return 0;
}
