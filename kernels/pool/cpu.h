// Row kernels of 2x2 maximum decimation; odd sizes keep a last, smaller window.
// The contract is this folder's __init__.py; kernels/engine/decimate.cpp drives these.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

template <class Cell>
struct PoolKernels {
    // One output row from rows `top` and `bottom` (null at an odd height's end), [width, channels] each,
    // channels a multiple of 16.
    void (*forward)(const Cell* top, const Cell* bottom, int width, int channels, Cell* to);

    // Its adjoint at the same inputs: writes d_top and, where bottom is there, d_bottom.
    void (*backward)(const Cell* d, const Cell* top, const Cell* bottom, int width, int channels, Cell* d_top,
                     Cell* d_bottom);
};

#define DIPEDGE_DECLARE_POOL(ns)                  \
    namespace ns {                                \
    extern const PoolKernels<float> pool_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_POOL)

#define DIPEDGE_DECLARE_POOL_BF16(ns)                 \
    namespace ns {                                    \
    extern const PoolKernels<bf16> pool_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_POOL_BF16)

}  // namespace dipedge
