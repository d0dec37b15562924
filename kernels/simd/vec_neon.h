// Vec of 8 float32 lanes in a pair of NEON registers, 64-bit Arm (every such processor has NEON with FMA).
//
// Why a pair: passes that sum over pixels walk one vector of channels down a tile, so 4 lanes would fetch
// each cache line four times and leave one chain of additions at a time; 16 lanes spill in the head's
// backward pass. Matrix products are the same code with any of the three.
#pragma once

#include <arm_neon.h>

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {

struct Vec {
    static constexpr int lanes = 8;
    float32x4_t low, high;

    static inline Vec zero() { return set1(0.0f); }
    static inline Vec set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
    static inline Vec load(const float* from) { return {vld1q_f32(from), vld1q_f32(from + 4)}; }
    inline void store(float* to) const {
        vst1q_f32(to, low);
        vst1q_f32(to + 4, high);
    }
};

static inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
static inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
static inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
static inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
static inline Vec fma(Vec a, Vec b, Vec c) {  // the intrinsic has the addend first
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
static inline Vec max(Vec a, Vec b) { return {vmaxq_f32(a.low, b.low), vmaxq_f32(a.high, b.high)}; }
static inline Vec sqrt(Vec a) { return {vsqrtq_f32(a.low), vsqrtq_f32(a.high)}; }
// Lane by lane: test > 0 ? yes : no.
static inline Vec where_positive(Vec test, Vec yes, Vec no) {
    return {vbslq_f32(vcgtzq_f32(test.low), yes.low, no.low),
            vbslq_f32(vcgtzq_f32(test.high), yes.high, no.high)};
}
static inline float sum(Vec a) { return vaddvq_f32(vaddq_f32(a.low, a.high)); }
// Adds the lanes to doubles, so that long sums keep their digits.
static inline void add_to(double* total, Vec a) {
    vst1q_f64(total, vaddq_f64(vld1q_f64(total), vcvt_f64_f32(vget_low_f32(a.low))));
    vst1q_f64(total + 2, vaddq_f64(vld1q_f64(total + 2), vcvt_high_f64_f32(a.low)));
    vst1q_f64(total + 4, vaddq_f64(vld1q_f64(total + 4), vcvt_f64_f32(vget_low_f32(a.high))));
    vst1q_f64(total + 6, vaddq_f64(vld1q_f64(total + 6), vcvt_high_f64_f32(a.high)));
}

// Register tile of the matrix kernels: rows x vectors of accumulators, of 32 registers. 20 accumulators, 4
// of weights, and 5 pixels in one lane each, which FMLA takes by element; a sixth row spills.
constexpr int tile_rows = 5;
constexpr int tile_vectors = 2;

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
