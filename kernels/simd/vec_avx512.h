// Vec of 16 float32 lanes, AVX-512 F/BW/DQ/VL.
#pragma once

#include <immintrin.h>

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {

struct Vec {
    static constexpr int lanes = 16;
    __m512 value;

    static inline Vec zero() { return {_mm512_setzero_ps()}; }
    static inline Vec set1(float x) { return {_mm512_set1_ps(x)}; }
    static inline Vec load(const float* from) { return {_mm512_loadu_ps(from)}; }
    inline void store(float* to) const { _mm512_storeu_ps(to, value); }
#if defined(DIPEDGE_ISA_AVX512BF16)
    static inline Vec load(const bf16* from) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
        return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
    }
    inline void store(bf16* to) const {
        _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(value));
    }
#endif
};

static inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.value, b.value)}; }
static inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.value, b.value)}; }
static inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.value, b.value)}; }
static inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.value, b.value)}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.value, b.value, c.value)}; }
static inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.value, b.value)}; }
static inline Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.value)}; }
// Lane by lane: test > 0 ? yes : no.
static inline Vec where_positive(Vec test, Vec yes, Vec no) {
    const __mmask16 positive = _mm512_cmp_ps_mask(test.value, _mm512_setzero_ps(), _CMP_GT_OQ);
    return {_mm512_mask_blend_ps(positive, no.value, yes.value)};
}
static inline float sum(Vec a) { return _mm512_reduce_add_ps(a.value); }
// Adds the lanes to doubles, so that long sums keep their digits.
static inline void add_to(double* total, Vec a) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a.value));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.value, 1));
    _mm512_storeu_pd(total, _mm512_add_pd(_mm512_loadu_pd(total), low));
    _mm512_storeu_pd(total + 8, _mm512_add_pd(_mm512_loadu_pd(total + 8), high));
}

// Register tile of the matrix kernels: rows x vectors of accumulators, of 32 registers.
constexpr int tile_rows = 6;
constexpr int tile_vectors = 4;

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
