/* What the routines share: the upper half of a float32 as a number, and squares of sixteen of them. */
#include <stdint.h>
#include <string.h>

typedef uint16_t bfloat16;

static inline float from_bfloat16(bfloat16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, 4);
    return result;
}

static inline bfloat16 to_bfloat16(float value) { /* to the nearest, ties to even; no number of ours is a signalling NaN */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (bfloat16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#ifdef __AVX512BF16__
#include <immintrin.h>

/* 16 pixels of 16 channels to 16 channels of 16 pixels */
static inline void transpose16(const bfloat16 *from, long channels, bfloat16 *to, long plane) {
    __m256i a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = _mm256_loadu_si256((const __m256i *)(from + i * channels));
    for (int i = 0; i < 8; i++) {
        b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        a[4 * i] = _mm256_unpacklo_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 1] = _mm256_unpackhi_epi32(b[4 * i], b[4 * i + 2]);
        a[4 * i + 2] = _mm256_unpacklo_epi32(b[4 * i + 1], b[4 * i + 3]);
        a[4 * i + 3] = _mm256_unpackhi_epi32(b[4 * i + 1], b[4 * i + 3]);
    }
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 4; k++) {
            b[8 * i + 2 * k] = _mm256_unpacklo_epi64(a[8 * i + k], a[8 * i + 4 + k]);
            b[8 * i + 2 * k + 1] = _mm256_unpackhi_epi64(a[8 * i + k], a[8 * i + 4 + k]);
        }
    for (int k = 0; k < 8; k++) {
        _mm256_storeu_si256((__m256i *)(to + k * plane), _mm256_permute2x128_si256(b[k], b[8 + k], 0x20));
        _mm256_storeu_si256((__m256i *)(to + (8 + k) * plane), _mm256_permute2x128_si256(b[k], b[8 + k], 0x31));
    }
}
#endif
