// The multiply-add peaks of one core, per instruction set.
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
    // Every lane begins elsewhere: a vector of two registers with equal halves is computed once.
    float first[chains * Vec::lanes];
    for (int i = 0; i < chains * Vec::lanes; ++i) first[i] = 2.0f + i;
    Vec value[chains];
// Without these the compiler keeps longer lists in memory, and turns round or stores for every value.
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) value[i] = Vec::load(first + i * Vec::lanes);
    for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i) {
#if defined(DIPEDGE_ISA_NEON)
            // FMLA overwrites its addend, and would need a copy of it each time. These stop growing at 2^22.
            value[i] = fma(factor, added, value[i]);
#else
            value[i] = fma(value[i], factor, added);
#endif
        }
    }
    Vec total = Vec::zero();
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) total = total + value[i];
    return sum(total);
}

#if defined(DIPEDGE_ISA_AMX)
// 16 x 16 sums of 32 products each, with four sums under way. The thread's tiles must be configured.
constexpr int bf16_flops = 4 * 2 * 16 * 16 * 32;

float bf16_chains(long rounds) {
    for (long round = 0; round < rounds; ++round) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    return 0;
}
#elif defined(DIPEDGE_ISA_AVX512BF16)
constexpr int bf16_flops = chains * 2 * 32;

float bf16_chains(long rounds) {
    const __m512bh factor = (__m512bh)_mm512_set1_epi32(0x3f803f80);  // pairs of 1
    __m512 value[chains];
    for (int i = 0; i < chains; ++i) value[i] = _mm512_set1_ps((float)i);
    for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i) value[i] = _mm512_dpbf16_ps(value[i], factor, factor);
    }
    Vec total = Vec::zero();
    for (int i = 0; i < chains; ++i) total = total + Vec{value[i]};
    return sum(total);
}
#else
constexpr int bf16_flops = 0;
float (*const bf16_chains)(long) = nullptr;
#endif

}  // namespace

extern const LimitKernels limit_kernels = {fma_chains, 2 * chains * Vec::lanes, bf16_chains, bf16_flops};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
