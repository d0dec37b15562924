// The Adam update over flat arrays. The contract is this folder's __init__.py.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

// step_size = learning_rate / (1 - beta1^t), root_correction = sqrt(1 - beta2^t), t counted from 1;
// rest = 1 - beta, rounded from float64: 1 - 0.999f is off by 1e-5 of itself, 1 - 0.99999f by 1e-3.
struct AdamStep {
    float step_size, root_correction, beta2, rest1, rest2, eps;
};

struct AdamKernels {
    // One step over `count` numbers, a multiple of 16.
    void (*update)(const AdamStep& step, size_t count, const float* gradient, float* mean, float* square,
                   float* parameter);
};

#define DIPEDGE_DECLARE_ADAM(ns)           \
    namespace ns {                         \
    extern const AdamKernels adam_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_ADAM)

}  // namespace dipedge
