// The arithmetic limits of an instruction set: what the benchmarks hold every kernel against.
#pragma once

#include "simd/isa.h"

namespace dipedge {

struct LimitKernels {
    // `rounds` rounds of float32 multiply-adds that neither wait for each other nor touch memory. The
    // value returned means nothing; it keeps the compiler from leaving the work out.
    float (*fma_chains)(long rounds);
    int flops_per_round;

    // The same of products of bf16 numbers summed in float32; null where the set does not have them.
    float (*bf16_chains)(long rounds);
    int bf16_flops_per_round;
};

#define DIPEDGE_DECLARE_LIMITS(ns)           \
    namespace ns {                           \
    extern const LimitKernels limit_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_LIMITS)

}  // namespace dipedge
