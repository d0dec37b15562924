// The arithmetic limit of an instruction set: what the benchmarks hold every kernel against.
#pragma once

#include "simd/isa.h"

namespace dipedge {

struct LimitKernels {
    // `rounds` rounds of multiply-adds that neither wait for each other nor touch memory. The value
    // returned means nothing; it keeps the compiler from leaving the work out.
    float (*fma_chains)(long rounds);
    int flops_per_round;
};

#define DIPEDGE_DECLARE_LIMITS(ns)           \
    namespace ns {                           \
    extern const LimitKernels limit_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_LIMITS)

}  // namespace dipedge
