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

// The limits of the same instruction set as `kernels`; null for null.
inline const LimitKernels* limits_of(const Kernels* kernels) {
    const char* name = kernels ? kernels->isa : "";
    const auto is = [name](const char* other) {
        const char *a = name, *b = other;
        while (*a && *a == *b) ++a, ++b;
        return *a == *b;
    };
#define DIPEDGE_RETURN_LIMITS(ns) \
    if (is(#ns)) return &ns::limit_kernels;
    DIPEDGE_FOR_EACH_ISA(DIPEDGE_RETURN_LIMITS)
#undef DIPEDGE_RETURN_LIMITS
    return nullptr;
}

}  // namespace dipedge
