// Row kernels of the Fourier-feature encoding and of the 1x1 layers fed by it.
// The contract is this folder's __init__.py; kernels/engine/fourier_op.cpp drives these.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

template <class Cell>
struct FourierKernels {
    // y[p, :] = columns[p, :] + row, [pixels, channels]: a pointwise layer of separable features.
    void (*add_row)(const float* columns, const float* row, int pixels, int channels, Cell* y);

    // column_sums[p, :] += d[p, :] and row_sum += sum over p of d[p, :]: its adjoint.
    void (*reduce_row)(const Cell* d, int pixels, int channels, float* column_sums, float* row_sum);
};

#define DIPEDGE_DECLARE_FOURIER(ns)                     \
    namespace ns {                                      \
    extern const FourierKernels<float> fourier_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_FOURIER)

#define DIPEDGE_DECLARE_FOURIER_BF16(ns)                    \
    namespace ns {                                          \
    extern const FourierKernels<bf16> fourier_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_FOURIER_BF16)

}  // namespace dipedge
