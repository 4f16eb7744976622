/* Batch norm of training with what follows it - the addition of a shortcut, ReLU - in two passes over memory forward and
   two backward, for bfloat16 activations in channels-last order: `rows` pixels of `channels` numbers.

   Statistics are sums over a fixed number of parts, each in double, added in order: neither the number of threads nor
   chance changes a bit. */
#include "bfloat16.h"

#include <math.h>
#include <stdlib.h>

#define PARTS 32   /* more threads than this find no work */
#define WIDE 512   /* pixels are taken together until a row has about so many numbers: room for vectors of any width */
#define BLOCK 64   /* wide rows that are summed in float32 before they are added in double */

/* what gets through ReLU's gradient where its output was y */
static inline bfloat16 passed(bfloat16 gradient, bfloat16 y) { return (int16_t)y > 0 ? gradient : 0; }

/* pixels in a wide row: a divisor of `rows`, so that nothing is left over */
static long together(long rows, long channels) {
    long count = channels < WIDE ? WIDE / channels : 1;
    while (rows % count) count--;
    return count;
}

/* the sums of the pixels of a wide row, to those of their channels */
static void add_up(double *total, const float *first, const float *second, long wide, long channels) {
    for (long j = 0; j < wide; j += channels)
        for (long c = 0; c < channels; c++) {
            total[c] += first[j + c];
            total[channels + c] += second[j + c];
        }
}

/* y = act(scale (x - mean) / sqrt(var + eps) + shift [+ shortcut]); act is ReLU or nothing.
   Writes mean and 1 / sqrt(var + eps), and moves the running statistics by `momentum` towards mean and the unbiased
   variance. Returns 0, or 1 where memory is short. */
int norm_forward(
    const bfloat16 *x, const bfloat16 *shortcut, const float *scale, const float *shift, float *running_mean,
    float *running_var, float momentum, float eps, bfloat16 *y, float *mean, float *inverse, long rows, long channels,
    long relu, long threads) {
    long count = together(rows, channels), wide = count * channels, wide_rows = rows / count;
    float *factor = malloc(sizeof(float) * 2 * wide);
    double *totals = calloc(PARTS * 2 * channels, sizeof(double));
    float *scratch = malloc(sizeof(float) * PARTS * 2 * wide);
    if (!factor || !totals || !scratch) {
        free(factor), free(totals), free(scratch);
        return 1;
    }
    float *offset = factor + wide; /* in the first pass: the first pixel, so that little is lost in sums of squares */
    for (long j = 0; j < wide; j++) offset[j] = from_bfloat16(x[j % channels]);

#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < PARTS; part++) {
        float *restrict sum = scratch + part * 2 * wide, *restrict squares = sum + wide;
        long end = wide_rows * (part + 1) / PARTS;
        for (long first = wide_rows * part / PARTS; first < end; first += BLOCK) {
            long last = first + BLOCK < end ? first + BLOCK : end;
            memset(sum, 0, sizeof(float) * 2 * wide);
            for (long row = first; row < last; row++) {
                const bfloat16 *in = x + row * wide;
                for (long j = 0; j < wide; j++) {
                    float value = from_bfloat16(in[j]) - offset[j];
                    sum[j] += value;
                    squares[j] += value * value;
                }
            }
            add_up(totals + part * 2 * channels, sum, squares, wide, channels);
        }
    }
    for (long c = 0; c < channels; c++) {
        double sum = 0, squares = 0;
        for (long part = 0; part < PARTS; part++) {
            sum += totals[part * 2 * channels + c];
            squares += totals[part * 2 * channels + channels + c];
        }
        double moved = sum / rows, var = squares / rows - moved * moved;
        if (var < 0) var = 0; /* by rounding; a NaN stays */
        mean[c] = (float)(moved + offset[c]);
        inverse[c] = (float)(1 / sqrt(var + eps));
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * ((float)(var * rows / (rows - 1)) - running_var[c]);
    }
    for (long j = 0; j < wide; j++) {
        long c = j % channels;
        factor[j] = scale[c] * inverse[c];
        offset[j] = shift[c] - mean[c] * factor[j];
    }

#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < wide_rows; row++) {
        const bfloat16 *restrict in = x + row * wide, *restrict added = shortcut ? shortcut + row * wide : in;
        bfloat16 *restrict out = y + row * wide;
        if (shortcut && relu)
            for (long j = 0; j < wide; j++) {
                float value = from_bfloat16(in[j]) * factor[j] + offset[j] + from_bfloat16(added[j]);
                out[j] = to_bfloat16(value < 0 ? 0 : value);
            }
        else if (shortcut)
            for (long j = 0; j < wide; j++) out[j] = to_bfloat16(from_bfloat16(in[j]) * factor[j] + offset[j] + from_bfloat16(added[j]));
        else if (relu)
            for (long j = 0; j < wide; j++) {
                float value = from_bfloat16(in[j]) * factor[j] + offset[j];
                out[j] = to_bfloat16(value < 0 ? 0 : value);
            }
        else
            for (long j = 0; j < wide; j++) out[j] = to_bfloat16(from_bfloat16(in[j]) * factor[j] + offset[j]);
    }
    free(factor), free(totals), free(scratch);
    return 0;
}

/* The gradients with respect to x, the shortcut (where `to_shortcut` is given: with ReLU, dy where y > 0), scale and shift.
   `y` is only read with ReLU. Returns 0, or 1 where memory is short. */
int norm_backward(
    const bfloat16 *dy, const bfloat16 *y, const bfloat16 *x, const float *scale, const float *mean, const float *inverse,
    bfloat16 *dx, bfloat16 *to_shortcut, float *dscale, float *dshift, long rows, long channels, long relu, long threads) {
    long count = together(rows, channels), wide = count * channels, wide_rows = rows / count;
    float *middle = malloc(sizeof(float) * 4 * wide);
    double *totals = calloc(PARTS * 2 * channels, sizeof(double));
    float *scratch = malloc(sizeof(float) * PARTS * 2 * wide);
    if (!middle || !totals || !scratch) {
        free(middle), free(totals), free(scratch);
        return 1;
    }
    float *of_dy = middle + wide, *of_x = of_dy + wide, *constant = of_x + wide;
    for (long j = 0; j < wide; j++) middle[j] = mean[j % channels];

#pragma omp parallel for schedule(static) num_threads(threads)
    for (long part = 0; part < PARTS; part++) {
        float *restrict sum = scratch + part * 2 * wide, *restrict product = sum + wide;
        long end = wide_rows * (part + 1) / PARTS;
        for (long first = wide_rows * part / PARTS; first < end; first += BLOCK) {
            long last = first + BLOCK < end ? first + BLOCK : end;
            memset(sum, 0, sizeof(float) * 2 * wide);
            for (long row = first; row < last; row++) {
                const bfloat16 *in = x + row * wide, *from = dy + row * wide, *out = relu ? y + row * wide : in;
                if (relu)
                    for (long j = 0; j < wide; j++) {
                        float gradient = from_bfloat16(passed(from[j], out[j]));
                        sum[j] += gradient;
                        product[j] += gradient * (from_bfloat16(in[j]) - middle[j]);
                    }
                else
                    for (long j = 0; j < wide; j++) {
                        float gradient = from_bfloat16(from[j]);
                        sum[j] += gradient;
                        product[j] += gradient * (from_bfloat16(in[j]) - middle[j]);
                    }
            }
            add_up(totals + part * 2 * channels, sum, product, wide, channels);
        }
    }
    for (long c = 0; c < channels; c++) {
        double sum = 0, product = 0;
        for (long part = 0; part < PARTS; part++) {
            sum += totals[part * 2 * channels + c];
            product += totals[part * 2 * channels + channels + c];
        }
        dshift[c] = (float)sum;
        dscale[c] = (float)(product * inverse[c]);
        /* dx = scale / s (dy - mean(dy) - (x - m) / s^2 mean(dy (x - m))), s^2 = var + eps (Ioffe and Szegedy 2015) */
        double whole = (double)scale[c] * inverse[c], slope = -whole * inverse[c] * inverse[c] * product / rows;
        of_dy[c] = (float)whole;
        of_x[c] = (float)slope;
        constant[c] = (float)(-whole * sum / rows - slope * mean[c]);
    }
    for (long j = channels; j < wide; j++) {
        of_dy[j] = of_dy[j - channels];
        of_x[j] = of_x[j - channels];
        constant[j] = constant[j - channels];
    }

#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < wide_rows; row++) {
        const bfloat16 *restrict in = x + row * wide, *restrict from = dy + row * wide;
        const bfloat16 *restrict out = relu ? y + row * wide : in;
        bfloat16 *restrict found = dx + row * wide, *restrict copied = to_shortcut ? to_shortcut + row * wide : found;
        if (relu && to_shortcut)
            for (long j = 0; j < wide; j++) {
                bfloat16 gradient = passed(from[j], out[j]);
                copied[j] = gradient;
                found[j] = to_bfloat16(from_bfloat16(gradient) * of_dy[j] + from_bfloat16(in[j]) * of_x[j] + constant[j]);
            }
        else if (relu)
            for (long j = 0; j < wide; j++) {
                float gradient = from_bfloat16(passed(from[j], out[j]));
                found[j] = to_bfloat16(gradient * of_dy[j] + from_bfloat16(in[j]) * of_x[j] + constant[j]);
            }
        else
            for (long j = 0; j < wide; j++)
                found[j] = to_bfloat16(from_bfloat16(from[j]) * of_dy[j] + from_bfloat16(in[j]) * of_x[j] + constant[j]);
    }
    free(middle), free(totals), free(scratch);
    return 0;
}
