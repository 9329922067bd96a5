/*
 * Says which digit is on a picture: a binary PPM file of 28 x 28 pixels.
 *
 *     make && ./classify digit.ppm
 *     make TARGET=rpi4 CC=aarch64-linux-gnu-gcc
 *
 * The network is a shared object with a header, which `make` lets eq_tvm compile: neither Python nor TVM is needed to
 * run it. Change `fill` for a network of your own: the header says how its input is made of pixels.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eq_model.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE, CHANNELS = 3, VALUES = CHANNELS * PIXELS, THREADS = 1 };

static const float MEAN = 127.5f, STD = 72.0f; /* of preprocess.yaml, in the header too */

static int read_ppm(const char *name, unsigned char *pixels)
{
    FILE *file = fopen(name, "rb");
    int width = 0, height = 0, most = 0, good;

    if (!file)
        return 0;
    good = fscanf(file, "P6 %d %d %d", &width, &height, &most) == 3 && fgetc(file) != EOF;
    good = good && width == SIDE && height == SIDE && most == 255 && fread(pixels, 1, VALUES, file) == VALUES;
    fclose(file);
    return good;
}

/* From red, green and blue of each pixel to one plane behind the other (NCHW). */
static void fill(float *input, const unsigned char *pixels)
{
    for (int channel = 0; channel < CHANNELS; channel++)
        for (int i = 0; i < PIXELS; i++)
            input[channel * PIXELS + i] = ((float)pixels[CHANNELS * i + channel] - MEAN) / STD;
}

int main(int count, char **arguments)
{
    unsigned char pixels[VALUES];
    const eq_model_tensor *scores_are = eq_model_outputs();
    float *input = malloc(eq_model_inputs()[0].bytes), *scores = malloc(scores_are->bytes);
    void *workspace = malloc(eq_model_workspace_size());
    const void *inputs[EQ_MODEL_INPUTS] = {input};
    void *outputs[EQ_MODEL_OUTPUTS] = {scores};
    size_t best = 0;

    if (count != 2 || !read_ppm(arguments[1], pixels)) {
        fprintf(stderr, "usage: %s FILE.ppm (P6, %d x %d, 255)\n", arguments[0], SIDE, SIDE);
        return 2;
    }
    if (!input || !scores || !workspace)
        return 1;
    fill(input, pixels);
    if (eq_model_run(inputs, outputs, workspace, THREADS)) {
        fprintf(stderr, "error: this processor lacks instructions that the network was compiled for\n");
        return 1;
    }
    for (size_t i = 1; i < scores_are->bytes / sizeof *scores; i++)
        if (scores[i] > scores[best])
            best = i;
    printf("%zu (score %.3f)\n", best, scores[best]);
    free(workspace);
    free(scores);
    free(input);
    return 0;
}
