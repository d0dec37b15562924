// Elementwise parts of the Muon update. The contract is this folder's __init__.py;
// kernels/engine/muon_op.cpp drives these together with conv_norm_act's matrix products.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

struct MuonKernels {
    // mean += (1 - momentum) * (gradient - mean), then to = gradient + momentum * (mean - gradient)
    // (Nesterov); returns the sum of squares of `to`. Counts are multiples of 16.
    double (*momentum)(const float* gradient, float momentum, size_t count, float* mean, float* to);

    // to = a * x + b * y.
    void (*combine)(const float* x, float a, const float* y, float b, size_t count, float* to);

    double (*sum_of_squares)(const float* x, size_t count);
};

#define DIPEDGE_DECLARE_MUON(ns)           \
    namespace ns {                         \
    extern const MuonKernels muon_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_MUON)

}  // namespace dipedge
