/* The gradient of a loss with respect to the weights of a 3x3 convolution (stride 1, padding 1) in bfloat16, for
   processors with AVX512-BF16; summed in float32. Activations are in channels-last order.

   An instruction multiplies pairs: 16 sums each gain a[2i] b[2i] + a[2i+1] b[2i+1]. The 16 sums are 16 output channels, the
   pairs two neighbouring pixels of a row. So the gradient is packed as pairs of pixels by channel, and the input with every
   channel as a plane of its own, in which a tap further right is an address 2 bytes higher. Two input channels times nine
   taps are summed at once, all in registers, while the rows of a picture pass by; a pair of pixels that was read for the
   right tap serves the left one next. */
#include "bfloat16.h"

#include <stdlib.h>

#ifdef __AVX512BF16__
#define LANES 16L /* output channels of a vector of sums; planes are packed 16 at a time as well */
#define PAIR 2L   /* input channels that are summed at once */
#define SUMS (PAIR * 9 * LANES)

/* (height, width, channels) to planes of rows of `stride`, the first column left zero */
static void pack_input(
    const bfloat16 *x, bfloat16 *planes, long height, long width, long channels, long plane, long stride) {
    for (long row = 0; row < height; row++) {
        const bfloat16 *from = x + row * width * channels;
        bfloat16 *to = planes + row * stride + 1;
        long column = 0;
        for (; column + 16 <= width; column += 16)
            for (long c = 0; c < channels; c += 16)
                transpose16(from + column * channels + c, channels, to + column + c * plane, plane);
        for (; column < width; column++)
            for (long c = 0; c < channels; c++) to[column + c * plane] = from[column * channels + c];
    }
}

/* (height, width, channels) to (channels / 16, 1 + height + 1, pairs of pixels, 16, 2); rows before and after stay zero */
static void pack_gradient(const bfloat16 *g, bfloat16 *packed, long height, long width, long channels) {
    long pairs = (width + 1) / 2;
    for (long block = 0; block < channels / LANES; block++)
        for (long row = 0; row < height; row++)
            for (long pair = 0; pair < pairs; pair++) {
                const bfloat16 *from = g + (row * width + 2 * pair) * channels + block * LANES;
                __m256i left = _mm256_loadu_si256((const __m256i *)from);
                __m256i right = _mm256_setzero_si256();
                if (2 * pair + 1 < width) right = _mm256_loadu_si256((const __m256i *)(from + channels));
                __m256i low = _mm256_unpacklo_epi16(left, right), high = _mm256_unpackhi_epi16(left, right);
                bfloat16 *to = packed + ((block * (height + 2) + row + 1) * pairs + pair) * 2 * LANES;
                _mm256_store_si256((__m256i *)to, _mm256_permute2x128_si256(low, high, 0x20));
                _mm256_store_si256((__m256i *)(to + LANES), _mm256_permute2x128_si256(low, high, 0x31));
            }
}

static inline __m512bh two_pixels(const bfloat16 *from) {
    int both;
    memcpy(&both, from, 4);
    return (__m512bh)_mm512_set1_epi32(both);
}

/* What one picture adds to the sums of two input channels (planes) and 16 output channels (packed) */
static void add_picture(
    const bfloat16 *planes, const bfloat16 *packed, float *sums, long height, long pairs, long plane, long stride) {
    __m512 sum[PAIR][3][3];
    for (int i = 0; i < PAIR * 9; i++) sum[i / 9][i / 3 % 3][i % 3] = _mm512_load_ps(sums + i * LANES);
    for (long row = 0; row < height; row++) {
        const bfloat16 *x = planes + row * stride, *g = packed + row * pairs * 2 * LANES;
        __m512bh left[PAIR];
        for (int c = 0; c < PAIR; c++) left[c] = two_pixels(x + c * plane);
        for (long pair = 0; pair < pairs; pair++, x += 2, g += 2 * LANES) {
            __m512bh gradient[3]; /* an input row meets the upper tap with the output row below it, which is packed later */
            for (int tap = 0; tap < 3; tap++)
                gradient[tap] = (__m512bh)_mm512_load_si512(g + (2 - tap) * pairs * 2 * LANES);
#pragma GCC unroll 2
            for (int c = 0; c < PAIR; c++) {
                __m512bh middle = two_pixels(x + c * plane + 1), right = two_pixels(x + c * plane + 2);
#pragma GCC unroll 3
                for (int tap = 0; tap < 3; tap++) {
                    sum[c][tap][0] = _mm512_dpbf16_ps(sum[c][tap][0], gradient[tap], left[c]);
                    sum[c][tap][1] = _mm512_dpbf16_ps(sum[c][tap][1], gradient[tap], middle);
                    sum[c][tap][2] = _mm512_dpbf16_ps(sum[c][tap][2], gradient[tap], right);
                }
                left[c] = right;
            }
        }
    }
    for (int i = 0; i < PAIR * 9; i++) _mm512_store_ps(sums + i * LANES, sum[i / 9][i / 3 % 3][i % 3]);
}

static void *aligned_zeros(long bytes) {
    void *found = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (found) memset(found, 0, bytes);
    return found;
}

int has_weight_gradient(void) { return 1; }

/* x (pictures, height, width, inputs) and g (pictures, height, width, outputs) to dw (outputs, 3, 3, inputs) float32;
   inputs and outputs are multiples of 16. Returns 0, or 1 where memory is short. */
int weight_gradient(
    const bfloat16 *x, const bfloat16 *g, float *dw, long pictures, long height, long width, long inputs, long outputs,
    long threads) {
    long pairs = (width + 1) / 2, stride = 2 * pairs + 2, plane = height * stride, numbers = 9 * inputs * outputs;
    if (plane % 32 == 0) plane += 2; /* planes a power of two apart would share the cache's lines */
    float *sums = aligned_zeros(sizeof(float) * numbers * threads);
    int failed = !sums;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(| : failed)
    for (int thread = 0; thread < threads; thread++) {
        bfloat16 *planes = aligned_zeros(sizeof(bfloat16) * plane * inputs);
        bfloat16 *packed = aligned_zeros(sizeof(bfloat16) * 2 * outputs * (height + 2) * pairs);
        failed |= !sums || !planes || !packed;
        for (long n = pictures * thread / threads; !failed && n < pictures * (thread + 1) / threads; n++) {
            pack_input(x + n * height * width * inputs, planes, height, width, inputs, plane, stride);
            pack_gradient(g + n * height * width * outputs, packed, height, width, outputs);
            float *to = sums + numbers * thread;
            for (long c = 0; c < inputs; c += PAIR)
                for (long block = 0; block < outputs / LANES; block++, to += SUMS)
                    add_picture(
                        planes + c * plane, packed + block * (height + 2) * pairs * 2 * LANES, to, height, pairs, plane,
                        stride);
        }
        free(planes), free(packed);
    }
    if (!failed) {
        for (int thread = 1; thread < threads; thread++)
            for (long i = 0; i < numbers; i++) sums[i] += sums[numbers * thread + i];
        for (long c = 0; c < inputs; c++)
            for (long tap = 0; tap < 9; tap++)
                for (long o = 0; o < outputs; o++)
                    dw[(o * 9 + tap) * inputs + c] =
                        sums[((c / PAIR * (outputs / LANES) + o / LANES) * PAIR * 9 + c % PAIR * 9 + tap) * LANES +
                             o % LANES];
    }
    free(sums);
    return failed;
}
#else
int has_weight_gradient(void) { return 0; }
#endif
