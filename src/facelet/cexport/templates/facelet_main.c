/*
 * Tells whether two photos show the same person.
 *
 *     facelet_main FIRST.ppm SECOND.ppm [THRESHOLD]
 *
 * The photos are aligned crops of the network's size. Exit codes: 0 same person, 1 different, 2 error.
 */
#include <stdio.h>
#include <stdlib.h>

#include "facelet_net.h"

#define SAME 0
#define DIFFERENT 1
#define FAILED 2

/* The next number of a PPM's header, or -1; comments run from '#' to the end of their line. */
static long header_number(FILE *file)
{
    long value = 0;
    int character = fgetc(file);
    int digits = 0;

    while (character == ' ' || character == '\t' || character == '\n' || character == '\r' || character == '#') {
        if (character == '#')
            while (character != '\n' && character != EOF)
                character = fgetc(file);
        else
            character = fgetc(file);
    }
    for (; character >= '0' && character <= '9' && digits < 7; digits++) {
        value = value * 10 + (character - '0');
        character = fgetc(file);
    }
    /* One character of white space ends a number, and is part of the header. */
    return digits > 0 && (character == ' ' || character == '\t' || character == '\n' || character == '\r') ? value : -1;
}

/* Reads an opened file; returns what is wrong with it, or NULL. */
static const char *read_pixels(FILE *file, uint8_t *rgb, long *width, long *height)
{
    const size_t size = (size_t)FACELET_HEIGHT * FACELET_WIDTH * 3;
    long most;

    if (fgetc(file) != 'P' || fgetc(file) != '6')
        return "is no binary PPM (P6)";
    *width = header_number(file);
    *height = header_number(file);
    most = header_number(file);
    if (*width < 0 || *height < 0 || most < 0)
        return "has a damaged PPM header";
    if (most != 255)
        return "has pixels of another depth than 8 bits";
    if (*width != FACELET_WIDTH || *height != FACELET_HEIGHT)
        return "has the wrong size";
    if (fread(rgb, 1, size, file) != size)
        return "is cut off";
    if (fgetc(file) != EOF)
        return "goes on behind its image";
    return NULL;
}

/* The embedding of a file's face; returns 0, or 2 after a line on standard error. */
static int embed_file(const char *path, float *embedding)
{
    static uint8_t rgb[FACELET_HEIGHT * FACELET_WIDTH * 3];
    FILE *file = fopen(path, "rb");
    const char *wrong;
    long width = -1, height = -1;

    if (file == NULL) {
        fprintf(stderr, "facelet: %s: cannot be opened\n", path);
        return FAILED;
    }
    wrong = read_pixels(file, rgb, &width, &height);
    fclose(file);
    if (wrong != NULL && width >= 0 && height >= 0)
        fprintf(stderr, "facelet: %s: %ldx%ld pixels, %s; give an aligned crop of %dx%d pixels\n", path, width, height,
                wrong, FACELET_WIDTH, FACELET_HEIGHT);
    else if (wrong != NULL)
        fprintf(stderr, "facelet: %s: %s; give an aligned crop of %dx%d pixels\n", path, wrong, FACELET_WIDTH,
                FACELET_HEIGHT);
    return wrong == NULL ? facelet_embed(rgb, embedding, NULL) : FAILED;
}

int main(int count, char **arguments)
{
    float first[FACELET_EMBEDDING_SIZE], second[FACELET_EMBEDDING_SIZE];
    double threshold = 0.0;
    float distance;
    int same;

#ifdef FACELET_THRESHOLD
    threshold = FACELET_THRESHOLD;
    if (count != 3 && count != 4) {
        fprintf(stderr, "facelet: usage: %s FIRST.ppm SECOND.ppm [THRESHOLD]\n", arguments[0]);
        return FAILED;
    }
#else
    if (count != 4) {
        fprintf(stderr, "facelet: usage: %s FIRST.ppm SECOND.ppm THRESHOLD\n", arguments[0]);
        return FAILED;
    }
#endif
    if (count == 4) {
        char *end;

        threshold = strtod(arguments[3], &end);
        if (end == arguments[3] || *end != '\0' || !(threshold >= 0.0 && threshold <= 4.0)) {
            fprintf(stderr, "facelet: threshold %s: must be a squared distance from 0 to 4\n", arguments[3]);
            return FAILED;
        }
    }
    if (embed_file(arguments[1], first) != 0 || embed_file(arguments[2], second) != 0)
        return FAILED;
    distance = facelet_distance(first, second);
    same = distance < threshold;
    printf("%s: distance %.4f, threshold %.4f\n", same ? "same person" : "different people", distance, threshold);
    return same ? SAME : DIFFERENT;
}
