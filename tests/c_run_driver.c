/* Reads images of the network's size from standard input, one behind the other; writes the integers of all outputs. */
#include <stdio.h>
#include <stdlib.h>

#include "facelet_net.h"

int main(void)
{
    static uint8_t rgb[FACELET_HEIGHT * FACELET_WIDTH * 3];
    size_t i;

    if (facelet_run(NULL) == 0 || facelet_output(FACELET_OUTPUTS, NULL) == 0)
        return 1;
    while (fread(rgb, 1, sizeof rgb, stdin) == sizeof rgb) {
        if (facelet_run(rgb) != 0)
            return 1;
        for (i = 0; i < FACELET_OUTPUTS; i++) {
            const facelet_shape *shape = &facelet_shapes[i];
            const size_t size = (size_t)shape->height * shape->width * shape->channels;
            int8_t *integers = malloc(size);

            if (integers == NULL || facelet_output(i, NULL) == 0 || facelet_output(i, integers) != 0)
                return 1;
            fwrite(integers, 1, size, stdout);
            free(integers);
        }
    }
    return 0;
}
