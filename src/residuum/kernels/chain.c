/* A chain of 3x3 convolutions (stride 1, padding 1, as many channels out as in), each followed by batch norm, perhaps the
   addition of an earlier activation, and ReLU:

       x[i] = conv[i](a[i]),   a[i+1] = relu(norm[i](x[i]) + joined)

   for bfloat16 activations in channels-last order. What is written to memory is x[i] alone (and a[i] where a shortcut
   starts or ends): norm and ReLU are applied while the next convolution reads its input, statistics are summed while a convolution
   writes its output, and the same holds backward. A picture, or a few small ones, is worked on at a time, so that what
   lies between is in the cache.

   Pictures are laid out with a column of zeros after every row and a row of zeros after every picture, as one sequence of
   positions: the neighbour of a position is a fixed number of positions away, and sixteen successive positions are a tile
   whatever the picture's width. */
#include "bfloat16.h"

#include <math.h>
#include <stdlib.h>

#if defined(__AVX512BF16__) && defined(__AMX_BF16__) && defined(__AMX_TILE__)
#include <sys/syscall.h>
#include <unistd.h>

#define LANES 16L /* numbers in a vector, positions and channels of a tile */
#define TAPS 9L
#define TILE 512L /* bfloat16 numbers of a tile of weights: 16 pairs of inputs by 16 outputs */
#define BAND 64L /* positions that are convolved before they are written */
#define BEFORE 64L /* positions of room before and after the sequence, always zero */
#define AFTER 128L
#define MOST_THREADS 16L /* on the way back, where the sums of all weights that each has are added up by one */
#define POSITIONS 256L /* small pictures are taken together until there are so many */

/* ---- sizes ---- */

typedef struct {
    long height, width, channels;
    long together; /* pictures of a group */
    long stride;   /* positions from a row to the next */
    long rows;     /* rows of a group, zero rows before, between and after pictures included */
    long length;   /* positions of a group */
    long plane;    /* positions of a channel's plane, room included */
} Shape;

static Shape shape_of(long pictures, long height, long width, long channels) {
    Shape s = {.height = height, .width = width, .channels = channels, .stride = width + 1};
    s.together = POSITIONS / (height * width) > 1 ? POSITIONS / (height * width) : 1;
    if (s.together > pictures) s.together = pictures;
    s.rows = s.together * (height + 1) + 1;
    s.length = s.rows * s.stride;
    s.plane = (BEFORE + s.length + AFTER + 31) / 32 * 32;
    if (s.plane / 32 % 2 == 0) s.plane += 32; /* planes a power of two apart would share the cache's lines */
    return s;
}

static void *zeros(long bytes) {
    bytes = (bytes + 4095) / 4096 * 4096;
    void *found = aligned_alloc(4096, bytes);
    if (found) memset(found, 0, bytes);
    return found;
}

static bfloat16 *positions_of(Shape s) { return zeros(sizeof(bfloat16) * (BEFORE + s.length + AFTER) * s.channels); }

/* ---- threads ---- */

/* What one worker is to do first of all: `next` to `end`. When that is done it takes what others have not come to. So a
   picture is mostly with the core that has it in its cache, and no core waits for one that something else keeps busy. */
typedef struct {
    long next, end, apart[6]; /* no two on one line of the cache */
} Range;

static Range *shared_out(long count, long workers) {
    Range *ranges = zeros(sizeof(Range) * workers);
    for (long i = 0; ranges && i < workers; i++) ranges[i] = (Range){count * i / workers, count * (i + 1) / workers, {0}};
    return ranges;
}

/* The next piece of work for worker `me`, -1 where there is none left; `turn`, 0 at first, is whose range it is at. */
static long take(Range *ranges, long workers, long me, long *turn) {
    for (; *turn < workers; ++*turn) {
        Range *of = ranges + (me + *turn) % workers;
        long found = __atomic_fetch_add(&of->next, 1, __ATOMIC_RELAXED);
        if (found < of->end) return found;
    }
    return -1;
}

/* ---- vectors ---- */

static inline __m512 load(const bfloat16 *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16));
}

static inline void store(bfloat16 *to, __m512 value) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(value));
}

/* a NaN counts as positive, and so stays one */
static inline __mmask16 positive(__m512 value) { return _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NLE_UQ); }

static inline __m512 relu(__m512 value) { return _mm512_maskz_mov_ps(positive(value), value); }

/* ---- tiles ---- */

typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} __attribute__((packed)) Tiles;

/* `narrow`: tiles 6 and 7 hold one tap of 16 channels; all others have 32 numbers a row */
static void configure(int narrow) {
    Tiles wanted = {.palette = 1};
    for (int i = 0; i < 8; i++) wanted.bytes[i] = 64, wanted.rows[i] = 16;
    if (narrow) wanted.bytes[6] = 32, wanted.rows[7] = 8;
    __asm__ volatile("" : : "m"(wanted)); /* all of it is read: GCC 12's _tile_loadconfig owns up to eight bytes */
    _tile_loadconfig(&wanted);
}

/* oneDNN may count on finding its tiles as it left them */
static void restore(const Tiles *before) {
    if (before->palette)
        _tile_loadconfig(before);
    else
        _tile_release();
}

static inline __m512i halves(const float *from) { /* 16 numbers in bfloat16, each in the lower half of a lane */
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from)));
}

/* Weights (outputs, 3, 3, inputs) as tiles: pairs of inputs by 16 outputs; for each block of outputs one tap after the
   other. `turned`: inputs and outputs change places, and the taps their order, as on the gradient's way back. */
static void pack_weights(const float *weight, bfloat16 *packed, long channels, int turned, long threads) {
    long row = TAPS * channels; /* from an output to the next */
    __m512i rows = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32((int)row));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long block = 0; block < channels; block += LANES)
        for (long tap = 0; tap < TAPS; tap++) {
            bfloat16 *to = packed + (block * TAPS + tap * LANES) * channels;
            for (long in = 0; in < channels; in += 2, to += 2 * LANES) {
                float of[2][LANES]; /* the two inputs' weights of 16 outputs */
                for (long i = 0; i < 2; i++)
                    _mm512_storeu_ps(
                        of[i], turned ? _mm512_loadu_ps(weight + (in + i) * row + (TAPS - 1 - tap) * channels + block)
                                      : _mm512_i32gather_ps(rows, weight + block * row + tap * channels + in + i, 4));
                _mm512_store_si512(to, _mm512_or_si512(halves(of[0]), _mm512_slli_epi32(halves(of[1]), 16)));
            }
        }
}

/* 16 channels: two taps side by side are one row of a tile, since positions overlap */
#define NARROW(tile, position)                                      \
    _tile_loadd(4, from + (position) * LANES, 32);                  \
    _tile_dpbf16ps(tile, 4, 5);                                     \
    _tile_loadd(6, from + ((position) + 2) * LANES, 32);            \
    _tile_dpbf16ps(tile, 6, 7);

static void convolve_narrow(const bfloat16 *at, const bfloat16 *weights, float *out, long stride) {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    for (long row = 0; row < 3; row++) {
        const bfloat16 *from = at + ((row - 1) * stride - 1) * LANES;
        _tile_loadd(5, weights + row * 3 * TILE / 2, 64);
        _tile_loadd(7, weights + row * 3 * TILE / 2 + TILE, 64);
        NARROW(0, 0) NARROW(1, 16) NARROW(2, 32) NARROW(3, 48)
    }
    _tile_stored(0, out, 64);
    _tile_stored(1, out + 16 * LANES, 64);
    _tile_stored(2, out + 32 * LANES, 64);
    _tile_stored(3, out + 48 * LANES, 64);
}

/* a multiple of 32 channels: 32 positions by 32 outputs at once */
static void convolve_wide(const bfloat16 *at, const bfloat16 *weights, float *out, long stride, long channels) {
    for (long block = 0; block < channels; block += 2 * LANES)
        for (long m = 0; m < BAND; m += 32) {
            const bfloat16 *left = weights + block * TAPS * channels, *right = left + LANES * TAPS * channels;
            _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
            for (long tap = 0; tap < TAPS; tap++) {
                const bfloat16 *from = at + (m + (tap / 3 - 1) * stride + tap % 3 - 1) * channels;
                for (long k = 0; k < channels; k += 32, left += TILE, right += TILE) {
                    _tile_loadd(4, from + k, channels * 2);
                    _tile_loadd(6, left, 64);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_loadd(5, from + k + 16 * channels, channels * 2);
                    _tile_dpbf16ps(1, 5, 6);
                    _tile_loadd(7, right, 64);
                    _tile_dpbf16ps(2, 4, 7);
                    _tile_dpbf16ps(3, 5, 7);
                }
            }
            float *to = out + m * channels + block;
            _tile_stored(0, to, channels * 4);
            _tile_stored(1, to + 16 * channels, channels * 4);
            _tile_stored(2, to + LANES, channels * 4);
            _tile_stored(3, to + LANES + 16 * channels, channels * 4);
        }
}

/* BAND positions from `at`, to sums in float32 */
static void convolve(const bfloat16 *at, const bfloat16 *weights, float *out, Shape s) {
    if (s.channels == LANES)
        convolve_narrow(at, weights, out, s.stride);
    else
        convolve_wide(at, weights, out, s.stride, s.channels);
}

/* ---- a picture's rows ---- */

/* the first position of a row of a picture of the group */
static long place(Shape s, long picture, long row) { return (picture * (s.height + 1) + 1 + row) * s.stride; }

/* The activations a convolution reads, in their places: `x` as it is, or relu(x factor + offset + joined), which is
   written to `kept` as well where that is given. */
static void read_in(
    const bfloat16 *x, const float *factor, const float *offset, const bfloat16 *joined, bfloat16 *kept, bfloat16 *places,
    long pictures, Shape s) {
    long numbers = s.width * s.channels;
    for (long picture = 0; picture < pictures; picture++)
        for (long row = 0; row < s.height; row++) {
            long first = (picture * s.height + row) * numbers;
            bfloat16 *to = places + place(s, picture, row) * s.channels;
            if (!factor) {
                memcpy(to, x + first, sizeof(bfloat16) * numbers);
                continue;
            }
            for (long c = 0; c < s.channels; c += LANES) {
                __m512 times = _mm512_loadu_ps(factor + c), plus = _mm512_loadu_ps(offset + c);
                for (long j = c; j < numbers; j += s.channels) {
                    __m512 value = _mm512_fmadd_ps(load(x + first + j), times, plus);
                    if (joined) value = _mm512_add_ps(value, load(joined + first + j));
                    store(to + j, relu(value));
                }
            }
            if (kept) memcpy(kept + first, to, sizeof(bfloat16) * numbers);
        }
}

/* The gradient of a convolution's output, of_dy dy + of_x x + constant, in its places; pictures that are not there are zero */
static void read_back(
    const bfloat16 *dy, const bfloat16 *x, const float *factors, bfloat16 *places, long pictures, Shape s) {
    long numbers = s.width * s.channels;
    for (long picture = 0; picture < pictures; picture++)
        for (long row = 0; row < s.height; row++) {
            long first = (picture * s.height + row) * numbers;
            bfloat16 *to = places + place(s, picture, row) * s.channels;
            for (long c = 0; c < s.channels; c += LANES) {
                __m512 of_dy = _mm512_loadu_ps(factors + c), of_x = _mm512_loadu_ps(factors + s.channels + c);
                __m512 constant = _mm512_loadu_ps(factors + 2 * s.channels + c);
                for (long j = c; j < numbers; j += s.channels)
                    store(
                        to + j, _mm512_fmadd_ps(
                                    load(dy + first + j), of_dy, _mm512_fmadd_ps(load(x + first + j), of_x, constant)));
            }
        }
    if (pictures < s.together)
        memset(
            places + place(s, pictures, 0) * s.channels, 0,
            sizeof(bfloat16) * (s.length - place(s, pictures, 0)) * s.channels);
}

/* A row of sums to bfloat16, and what it adds to sums of the written numbers less `middle`, and of their squares */
static void write_out(
    const float *sums, bfloat16 *out, const float *middle, float *total, float *squares, Shape s) {
    for (long c = 0; c < s.channels; c += LANES) {
        __m512 less = _mm512_loadu_ps(middle + c), t = _mm512_loadu_ps(total + c), q = _mm512_loadu_ps(squares + c);
        for (long j = c; j < s.width * s.channels; j += s.channels) {
            store(out + j, _mm512_loadu_ps(sums + j));
            __m512 value = _mm512_sub_ps(load(out + j), less);
            t = _mm512_add_ps(t, value);
            q = _mm512_fmadd_ps(value, value, q);
        }
        _mm512_storeu_ps(total + c, t);
        _mm512_storeu_ps(squares + c, q);
    }
}

/* A row of the gradient of activations, `joined` (where given) added: where the activation was positive it goes on to the
   norm below, whose input was `x`; its sums and those of its products with x less `middle` are added up. */
static void write_back(
    const float *sums, const bfloat16 *joined, const bfloat16 *activation, const bfloat16 *x, bfloat16 *out,
    const float *middle, float *total, float *products, Shape s) {
    for (long c = 0; c < s.channels; c += LANES) {
        if (!x) {
            for (long j = c; j < s.width * s.channels; j += s.channels) {
                __m512 value = _mm512_loadu_ps(sums + j);
                store(out + j, joined ? _mm512_add_ps(value, load(joined + j)) : value);
            }
            continue;
        }
        __m512 less = _mm512_loadu_ps(middle + c), t = _mm512_loadu_ps(total + c), p = _mm512_loadu_ps(products + c);
        for (long j = c; j < s.width * s.channels; j += s.channels) {
            __m512 value = _mm512_loadu_ps(sums + j);
            if (joined) value = _mm512_add_ps(value, load(joined + j));
            store(out + j, _mm512_maskz_mov_ps(positive(load(activation + j)), value));
            value = load(out + j);
            t = _mm512_add_ps(t, value);
            p = _mm512_fmadd_ps(value, _mm512_sub_ps(load(x + j), less), p);
        }
        _mm512_storeu_ps(total + c, t);
        _mm512_storeu_ps(products + c, p);
    }
}

/* ---- the weights' gradient ---- */

/* positions of channels to channels of positions */
static void transpose(const bfloat16 *places, bfloat16 *planes, Shape s) {
    for (long q = 0; q < s.length; q += 16)
        for (long c = 0; c < s.channels; c += LANES)
            transpose16(places + q * s.channels + c, s.channels, planes + c * s.plane + q, s.plane);
}

/* From the second row on, pairs of positions by 16 channels: tiles of 32 positions, one block of channels after the other */
static void pair_up(const bfloat16 *places, bfloat16 *pairs, long tiles, Shape s) {
    for (long c = 0; c < s.channels; c += LANES) {
        const bfloat16 *from = places + s.stride * s.channels + c;
        bfloat16 *to = pairs + c / LANES * tiles * TILE;
        for (long q = 0; q < tiles * 32; q += 2, from += 2 * s.channels, to += 2 * LANES) {
            __m256i first = _mm256_loadu_si256((const __m256i *)from);
            __m256i second = _mm256_loadu_si256((const __m256i *)(from + s.channels));
            __m256i low = _mm256_unpacklo_epi16(first, second), high = _mm256_unpackhi_epi16(first, second);
            _mm256_store_si256((__m256i *)to, _mm256_permute2x128_si256(low, high, 0x20));
            _mm256_store_si256((__m256i *)(to + LANES), _mm256_permute2x128_si256(low, high, 0x31));
        }
    }
}

#define TAP(tile, shift)                            \
    _tile_loadd(6, from + (shift), s.plane * 2);    \
    _tile_dpbf16ps(tile, 6, 7);

/* 16 channels: six sums, then the three of the lowest row of taps */
static void add_products_narrow(const bfloat16 *planes, const bfloat16 *pairs, float *sums, long tiles, Shape s) {
    long up = -s.stride, down = s.stride, bytes = 4 * LANES;
    _tile_loadd(0, sums, bytes); _tile_loadd(1, sums + 256, bytes); _tile_loadd(2, sums + 512, bytes);
    _tile_loadd(3, sums + 768, bytes); _tile_loadd(4, sums + 1024, bytes); _tile_loadd(5, sums + 1280, bytes);
    for (long tile = 0; tile < tiles; tile++) {
        const bfloat16 *from = planes + s.stride + tile * 32;
        _tile_loadd(7, pairs + tile * TILE, 64);
        TAP(0, up - 1) TAP(1, up) TAP(2, up + 1) TAP(3, -1) TAP(4, 0) TAP(5, 1)
    }
    _tile_stored(0, sums, bytes); _tile_stored(1, sums + 256, bytes); _tile_stored(2, sums + 512, bytes);
    _tile_stored(3, sums + 768, bytes); _tile_stored(4, sums + 1024, bytes); _tile_stored(5, sums + 1280, bytes);
    sums += 6 * 256;
    _tile_loadd(0, sums, bytes); _tile_loadd(1, sums + 256, bytes); _tile_loadd(2, sums + 512, bytes);
    for (long tile = 0; tile < tiles; tile++) {
        const bfloat16 *from = planes + s.stride + tile * 32;
        _tile_loadd(7, pairs + tile * TILE, 64);
        TAP(0, down - 1) TAP(1, down) TAP(2, down + 1)
    }
    _tile_stored(0, sums, bytes); _tile_stored(1, sums + 256, bytes); _tile_stored(2, sums + 512, bytes);
}

/* a multiple of 32 channels: 32 inputs by 32 outputs of one tap at once */
static void add_products_wide(const bfloat16 *planes, const bfloat16 *pairs, float *sums, long tiles, Shape s) {
    long bytes = 4 * LANES, next = s.channels / LANES * TAPS * 256; /* from a block of inputs to the next */
    for (long in = 0; in < s.channels; in += 2 * LANES)
        for (long out = 0; out < s.channels; out += 2 * LANES)
            for (long tap = 0; tap < TAPS; tap++) {
                float *upper = sums + in / LANES * next + (out / LANES * TAPS + tap) * 256, *lower = upper + next;
                const bfloat16 *from = planes + in * s.plane + s.stride + (tap / 3 - 1) * s.stride + tap % 3 - 1;
                const bfloat16 *left = pairs + out / LANES * tiles * TILE, *right = left + tiles * TILE;
                _tile_loadd(0, upper, bytes); _tile_loadd(1, upper + TAPS * 256, bytes);
                _tile_loadd(2, lower, bytes); _tile_loadd(3, lower + TAPS * 256, bytes);
                for (long tile = 0; tile < tiles; tile++, from += 32, left += TILE, right += TILE) {
                    _tile_loadd(4, from, s.plane * 2);
                    _tile_loadd(6, left, 64);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_loadd(7, right, 64);
                    _tile_dpbf16ps(1, 4, 7);
                    _tile_loadd(5, from + LANES * s.plane, s.plane * 2);
                    _tile_dpbf16ps(2, 5, 6);
                    _tile_dpbf16ps(3, 5, 7);
                }
                _tile_stored(0, upper, bytes); _tile_stored(1, upper + TAPS * 256, bytes);
                _tile_stored(2, lower, bytes); _tile_stored(3, lower + TAPS * 256, bytes);
            }
}

/* ---- statistics ---- */

/* Mean and 1 / sqrt(variance + eps) of each channel from the groups' sums (Chan et al. 1979), and the factor and offset
   that norm is: scale / s and shift - mean scale / s. Running statistics move by `momentum`. */
static void settle_statistics(
    const float *groups, long count, long pictures, const float *scale, const float *shift, float *running_mean,
    float *running_var, float momentum, float eps, float *mean, float *inverse, float *factor, float *offset, Shape s) {
    for (long c = 0; c < s.channels; c++) {
        double n = 0, m = 0, spread = 0;
        for (long group = 0; group < count; group++) {
            const float *of = groups + group * 3 * s.channels + c;
            long taken = group + 1 < count ? s.together : pictures - group * s.together;
            double more = (double)taken * s.height * s.width, sum = of[s.channels], squares = of[2 * s.channels];
            double here = of[0] + sum / more, apart = here - m;
            spread += squares - sum * sum / more + apart * apart * n * more / (n + more);
            m += apart * more / (n + more);
            n += more;
        }
        if (spread < 0) spread = 0; /* by rounding; a NaN stays */
        mean[c] = (float)m;
        inverse[c] = (float)(1 / sqrt(spread / n + eps));
        running_mean[c] += momentum * (mean[c] - running_mean[c]);
        running_var[c] += momentum * ((float)(spread / (n - 1)) - running_var[c]);
        factor[c] = scale[c] * inverse[c];
        offset[c] = shift[c] - mean[c] * factor[c];
    }
}

/* The gradients of scale and shift from the groups' sums, and the three factors of a norm's gradient:
   dx = of_dy dy + of_x x + constant (Ioffe and Szegedy 2015). */
static void settle_gradient(
    const float *groups, long count, long pictures, const float *scale, const float *mean, const float *inverse,
    float *dscale, float *dshift, float *factors, Shape s) {
    double n = (double)pictures * s.height * s.width;
    for (long c = 0; c < s.channels; c++) {
        double sum = 0, product = 0;
        for (long group = 0; group < count; group++) {
            sum += groups[group * 2 * s.channels + c];
            product += groups[group * 2 * s.channels + s.channels + c];
        }
        dshift[c] = (float)sum;
        dscale[c] = (float)(product * inverse[c]);
        double whole = (double)scale[c] * inverse[c], slope = -whole * inverse[c] * inverse[c] * product / n;
        factors[c] = (float)whole;
        factors[s.channels + c] = (float)slope;
        factors[2 * s.channels + c] = (float)(-whole * sum / n - slope * mean[c]);
    }
}

/* ---- what is called ---- */

int has_chain(void) { return syscall(SYS_arch_prctl, 0x1023 /* ask for the tiles' registers */, 18) == 0; }

/* One convolution of a chain: its input is `x` as it is, or relu(x factor + offset [+ joined]), which is written to `kept`
   where that is given. Writes its output, the statistics of that, and the factor and offset which the norm after it is.
   Returns 0, or 1 where memory is short. */
int chain_forward(
    const bfloat16 *x, const float *factor, const float *offset, const bfloat16 *joined, bfloat16 *kept,
    const float *weight, bfloat16 *out, const float *scale, const float *shift, float *running_mean, float *running_var,
    float momentum, float eps, float *mean, float *inverse, float *next_factor, float *next_offset, long pictures,
    long height, long width, long channels, long threads) {
    Shape s = shape_of(pictures, height, width, channels);
    long count = (pictures + s.together - 1) / s.together, numbers = height * width * channels;
    bfloat16 *packed = zeros(sizeof(bfloat16) * TAPS * channels * channels);
    float *groups = zeros(sizeof(float) * 3 * channels * count);
    Range *ranges = shared_out(count, threads);
    int failed = !packed || !groups || !ranges;
    if (!failed) pack_weights(weight, packed, channels, 0, threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(| : failed)
    for (long me = 0; me < threads; me++) {
        Tiles before;
        _tile_storeconfig(&before);
        configure(channels == LANES);
        bfloat16 *room = positions_of(s), *places = room + BEFORE * channels;
        float *sums = zeros(sizeof(float) * (s.length + AFTER) * channels);
        failed |= !packed || !groups || !ranges || !room || !sums;
        for (long turn = 0, group; !failed && (group = take(ranges, threads, me, &turn)) >= 0;) {
            long first = group * s.together, taken = first + s.together < pictures ? s.together : pictures - first;
            long at = first * numbers;
            float *of = groups + group * 3 * channels;
            read_in(x + at, factor, offset, joined ? joined + at : 0, kept ? kept + at : 0, places, taken, s);
            long done = s.stride, row = 0; /* `done` positions have their sums, `row` rows are written */
            for (; row < taken * height; row++) {
                long begin = place(s, row / height, row % height);
                for (; done < begin + width; done += BAND)
                    convolve(places + done * channels, packed, sums + done * channels, s);
                bfloat16 *to = out + at + row * width * channels;
                if (!row) /* sums are taken of what is beyond the first position's numbers */
                    for (long c = 0; c < channels; c++) of[c] = from_bfloat16(to_bfloat16(sums[begin * channels + c]));
                write_out(sums + begin * channels, to, of, of + channels, of + 2 * channels, s);
            }
        }
        free(room), free(sums);
        restore(&before);
    }
    if (!failed)
        settle_statistics(
            groups, count, pictures, scale, shift, running_mean, running_var, momentum, eps, mean, inverse, next_factor,
            next_offset, s);
    free(packed), free(groups), free(ranges);
    return failed;
}

/* What leaves a chain: relu(x factor + offset [+ joined]) */
int chain_leave(
    const bfloat16 *x, const float *factor, const float *offset, const bfloat16 *joined, bfloat16 *out, long rows,
    long channels, long threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < rows; row++)
        for (long c = 0; c < channels; c += LANES) {
            long j = row * channels + c;
            __m512 value = _mm512_fmadd_ps(load(x + j), _mm512_loadu_ps(factor + c), _mm512_loadu_ps(offset + c));
            if (joined) value = _mm512_add_ps(value, load(joined + j));
            store(out + j, relu(value));
        }
    return 0;
}

/* The way back into a chain: the gradient `dy` of its output y, where y is positive, is that of the last norm, whose input
   was x. Returns 0, or 1 where memory is short. */
int chain_enter_back(
    const bfloat16 *dy, const bfloat16 *y, const bfloat16 *x, bfloat16 *out, const float *scale, const float *mean,
    const float *inverse, float *dscale, float *dshift, float *factors, long pictures, long height, long width,
    long channels, long threads) {
    Shape s = shape_of(pictures, height, width, channels);
    long numbers = width * channels;
    float *groups = zeros(sizeof(float) * 2 * channels * pictures);
    if (!groups) return 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long picture = 0; picture < pictures; picture++) {
        float *of = groups + picture * 2 * channels;
        for (long c = 0; c < channels; c += LANES) {
            __m512 less = _mm512_loadu_ps(mean + c), t = _mm512_setzero_ps(), p = _mm512_setzero_ps();
            for (long j = picture * height * numbers + c; j < (picture + 1) * height * numbers; j += channels) {
                __m512 value = _mm512_maskz_mov_ps(positive(load(y + j)), load(dy + j));
                store(out + j, value);
                t = _mm512_add_ps(t, value);
                p = _mm512_fmadd_ps(value, _mm512_sub_ps(load(x + j), less), p);
            }
            _mm512_storeu_ps(of + c, t);
            _mm512_storeu_ps(of + channels + c, p);
        }
    }
    settle_gradient(groups, pictures, pictures, scale, mean, inverse, dscale, dshift, factors, s);
    free(groups);
    return 0;
}

/* One convolution of a chain on the way back. `dy` is the gradient of its norm's output, which with the convolution's own
   output `x` and the norm's `factors` gives that of x. Its input was `in` as it is, or relu(in factor + offset). Writes
   the weights' gradient `dweight` (outputs, 3, 3, inputs), and to `out` that of the input, to which `joined` is added where
   given; with `under`, the output of the convolution before, only where the input was positive, and then the sums of that
   convolution's norm (scale, mean, inverse) give its gradients and its factors. Returns 0, or 1 where memory is short. */
int chain_backward(
    const bfloat16 *dy, const bfloat16 *x, const float *factors, const bfloat16 *in, const float *factor,
    const float *offset, const float *weight, float *dweight, const bfloat16 *joined, const bfloat16 *under, bfloat16 *out,
    const float *scale, const float *mean, const float *inverse, float *dscale, float *dshift, float *next_factors,
    long pictures, long height, long width, long channels, long threads) {
    Shape s = shape_of(pictures, height, width, channels);
    long count = (pictures + s.together - 1) / s.together, numbers = height * width * channels;
    long tiles = ((s.rows - 2) * s.stride + 31) / 32, weights = TAPS * channels * channels;
    bfloat16 *packed = zeros(sizeof(bfloat16) * weights);
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    /* every part has its own sums, whoever computes it; so many parts as adding them up costs little for */
    long parts = threads == 1 ? 1 : threads * (channels > 64 ? 1 : channels > 32 ? 2 : 4);
    if (parts > count) parts = count;
    float *groups = zeros(sizeof(float) * 2 * channels * count);
    float *products = aligned_alloc(64, sizeof(float) * weights * parts);
    Range *ranges = shared_out(parts, threads);
    int failed = !packed || !groups || !products || !ranges;
    if (!failed) pack_weights(weight, packed, channels, 1, threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(| : failed)
    for (long me = 0; me < threads; me++) {
        Tiles before;
        _tile_storeconfig(&before);
        bfloat16 *room = positions_of(s), *places = room + BEFORE * channels; /* gradients */
        bfloat16 *input_room = positions_of(s), *inputs = input_room + BEFORE * channels;
        bfloat16 *planes = zeros(sizeof(bfloat16) * s.plane * channels);
        bfloat16 *pairs = zeros(sizeof(bfloat16) * TILE * tiles * (channels / LANES));
        float *sums = zeros(sizeof(float) * (s.length + AFTER) * channels);
        failed |= !packed || !groups || !products || !ranges || !room || !input_room || !planes || !pairs || !sums;
        for (long turn = 0, part; !failed && (part = take(ranges, threads, me, &turn)) >= 0;) {
            float *product = products + weights * part;
            memset(product, 0, sizeof(float) * weights);
            for (long group = count * part / parts; group < count * (part + 1) / parts; group++) {
                long first = group * s.together, taken = first + s.together < pictures ? s.together : pictures - first;
                long at = first * numbers;
                read_in(in + at, factor, offset, 0, 0, inputs, taken, s);
                read_back(dy + at, x + at, factors, places, taken, s);
                transpose(inputs, planes + BEFORE, s);
                pair_up(places, pairs, tiles, s);
                configure(0);
                (channels == LANES ? add_products_narrow : add_products_wide)(planes + BEFORE, pairs, product, tiles, s);
                configure(channels == LANES);
                float *of = groups + group * 2 * channels;
                long done = s.stride;
                for (long row = 0; row < taken * height; row++) {
                    long begin = place(s, row / height, row % height), to = at + row * width * channels;
                    for (; done < begin + width; done += BAND)
                        convolve(places + done * channels, packed, sums + done * channels, s);
                    write_back(
                        sums + begin * channels, joined ? joined + to : 0, inputs + begin * channels,
                        under ? under + to : 0, out + to, mean, of, of + channels, s);
                }
            }
        }
        free(room), free(input_room), free(planes), free(pairs), free(sums);
        restore(&before);
    }
    if (!failed) {
        __m512i inputs = _mm512_slli_epi32( /* from an input to the next: 16 outputs */
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 4);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (long out = 0; out < channels; out++)
            for (long tap = 0; tap < TAPS; tap++)
                for (long in = 0; in < channels; in += LANES) {
                    const float *from =
                        products + ((in / LANES * (channels / LANES) + out / LANES) * TAPS + tap) * 256 + out % LANES;
                    __m512 sum = _mm512_i32gather_ps(inputs, from, 4);
                    for (long part = 1; part < parts; part++)
                        sum = _mm512_add_ps(sum, _mm512_i32gather_ps(inputs, from + weights * part, 4));
                    _mm512_storeu_ps(dweight + (out * TAPS + tap) * channels + in, sum);
                }
        if (under) settle_gradient(groups, count, pictures, scale, mean, inverse, dscale, dshift, next_factors, s);
    }
    free(packed), free(groups), free(products), free(ranges);
    return failed;
}
#else
int has_chain(void) { return 0; }
#endif
