// Vec of 4 float32 lanes in the compiler's own vector type: SSE2 on x86-64, NEON on 64-bit Arm, plain
// code elsewhere. The path every processor can take.
#pragma once

#include <math.h>
#include <string.h>

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {

struct Vec {
    static constexpr int lanes = 4;
    typedef float Lanes __attribute__((vector_size(16)));
    Lanes value;

    static inline Vec zero() { return {Lanes{0, 0, 0, 0}}; }
    static inline Vec set1(float x) { return {Lanes{x, x, x, x}}; }
    static inline Vec load(const float* from) {
        Vec loaded;
        memcpy(&loaded.value, from, sizeof(Lanes));
        return loaded;
    }
    inline void store(float* to) const { memcpy(to, &value, sizeof(Lanes)); }
};

static inline Vec operator+(Vec a, Vec b) { return {a.value + b.value}; }
static inline Vec operator-(Vec a, Vec b) { return {a.value - b.value}; }
static inline Vec operator*(Vec a, Vec b) { return {a.value * b.value}; }
static inline Vec operator/(Vec a, Vec b) { return {a.value / b.value}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return {a.value * b.value + c.value}; }
static inline Vec max(Vec a, Vec b) { return {a.value > b.value ? a.value : b.value}; }
static inline Vec sqrt(Vec a) {
    return {Vec::Lanes{sqrtf(a.value[0]), sqrtf(a.value[1]), sqrtf(a.value[2]), sqrtf(a.value[3])}};
}
// Lane by lane: test > 0 ? yes : no.
static inline Vec where_positive(Vec test, Vec yes, Vec no) {
    return {test.value > Vec::Lanes{0, 0, 0, 0} ? yes.value : no.value};
}
static inline float sum(Vec a) { return (a.value[0] + a.value[1]) + (a.value[2] + a.value[3]); }
// Adds the lanes to doubles, so that long sums keep their digits.
static inline void add_to(double* total, Vec a) {
    for (int lane = 0; lane < Vec::lanes; ++lane) total[lane] += (double)a.value[lane];
}

// Register tile of the matrix kernels: rows x vectors of accumulators, of 16 registers.
constexpr int tile_rows = 4;
constexpr int tile_vectors = 2;

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
