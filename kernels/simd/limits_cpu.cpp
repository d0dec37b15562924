// The multiply-add peak of one core, per instruction set.
//
// A multiply-add takes 4 cycles and two start in each, so at least 8 must be under way at once (16 where
// it is a multiplication and an addition); there are as many chains as fit into the registers beside two
// operands. No kernel can exceed what this reaches, since there is no load in the loop.
#include "simd/limits.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

constexpr int chains = Vec::lanes == 16 ? 24 : 12;

float fma_chains(long rounds) {
    // Every value goes towards 0.25 / (1 - 0.75) = 1: never to denormal numbers, which are slow.
    const Vec factor = Vec::set1(0.75f), added = Vec::set1(0.25f);
    Vec value[chains];
    for (int i = 0; i < chains; ++i) value[i] = Vec::set1(2.0f + i);
    for (long round = 0; round < rounds; ++round) {
// Without this the compiler keeps the longer list of AVX-512 in memory and turns round for every value.
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i) value[i] = fma(value[i], factor, added);
    }
    Vec total = Vec::zero();
    for (int i = 0; i < chains; ++i) total = total + value[i];
    return sum(total);
}

}  // namespace

extern const LimitKernels limit_kernels = {fma_chains, 2 * chains * Vec::lanes};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
