// Muon: the elementwise parts on the CPU.
//
// The Newton-Schulz iteration is matrix products of 128 x 128 that run through conv_norm_act's kernels at
// their speed; what is here reads and writes each matrix once per call and never shows in a profile.
// Sums go through double every 4096 values, so that they do not depend on how long the matrix is.
#include "muon/cpu.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

constexpr size_t chunk = 4096;

double momentum(const float* gradient, float momentum, size_t count, float* mean, float* to) {
    const Vec rest = Vec::set1(1.0f - momentum), keep = Vec::set1(momentum);
    double total = 0;
    for (size_t from = 0; from < count; from += chunk) {
        const size_t end = from + chunk < count ? from + chunk : count;
        Vec squares = Vec::zero();
        for (size_t i = from; i < end; i += Vec::lanes) {
            const Vec g = Vec::load(gradient + i), before = Vec::load(mean + i);
            const Vec m = fma(rest, g - before, before);
            const Vec update = fma(keep, m - g, g);
            m.store(mean + i);
            update.store(to + i);
            squares = fma(update, update, squares);
        }
        total += (double)sum(squares);
    }
    return total;
}

void combine(const float* x, float a, const float* y, float b, size_t count, float* to) {
    const Vec a_v = Vec::set1(a), b_v = Vec::set1(b);
    for (size_t i = 0; i < count; i += Vec::lanes) {
        fma(a_v, Vec::load(x + i), b_v * Vec::load(y + i)).store(to + i);
    }
}

double sum_of_squares(const float* x, size_t count) {
    double total = 0;
    for (size_t from = 0; from < count; from += chunk) {
        const size_t end = from + chunk < count ? from + chunk : count;
        Vec squares = Vec::zero();
        for (size_t i = from; i < end; i += Vec::lanes)
            squares = fma(Vec::load(x + i), Vec::load(x + i), squares);
        total += (double)sum(squares);
    }
    return total;
}

}  // namespace

extern const MuonKernels muon_kernels = {momentum, combine, sum_of_squares};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
