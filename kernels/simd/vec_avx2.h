// Vec of 8 float32 lanes, AVX2 with FMA.
#pragma once

#include <immintrin.h>

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {

struct Vec {
    static constexpr int lanes = 8;
    __m256 value;

    static inline Vec zero() { return {_mm256_setzero_ps()}; }
    static inline Vec set1(float x) { return {_mm256_set1_ps(x)}; }
    static inline Vec load(const float* from) { return {_mm256_loadu_ps(from)}; }
    inline void store(float* to) const { _mm256_storeu_ps(to, value); }
};

static inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.value, b.value)}; }
static inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.value, b.value)}; }
static inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.value, b.value)}; }
static inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.value, b.value)}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.value, b.value, c.value)}; }
static inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.value, b.value)}; }
static inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.value)}; }
// Lane by lane: test > 0 ? yes : no.
static inline Vec where_positive(Vec test, Vec yes, Vec no) {
    const __m256 positive = _mm256_cmp_ps(test.value, _mm256_setzero_ps(), _CMP_GT_OQ);
    return {_mm256_blendv_ps(no.value, yes.value, positive)};
}
static inline float sum(Vec a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.value), _mm256_extractf128_ps(a.value, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
// Adds the lanes to doubles, so that long sums keep their digits.
static inline void add_to(double* total, Vec a) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(a.value));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(a.value, 1));
    _mm256_storeu_pd(total, _mm256_add_pd(_mm256_loadu_pd(total), low));
    _mm256_storeu_pd(total + 4, _mm256_add_pd(_mm256_loadu_pd(total + 4), high));
}

// Register tile of the matrix kernels: rows x vectors of accumulators, of 16 registers.
constexpr int tile_rows = 6;
constexpr int tile_vectors = 2;

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
