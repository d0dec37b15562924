// Row kernels of 2x2 average and maximum decimation; odd sizes keep a last, smaller window.
// The contract is this folder's __init__.py; kernels/engine/decimate_op.cpp drives these.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

struct PoolKernels {
    // One output row from rows `top` and `bottom` (null at an odd height's end), [width, channels] each.
    void (*forward)(const float* top, const float* bottom, int width, int channels, bool maximum, float* to);

    // Its adjoint at the same inputs: writes d_top and, where bottom is there, d_bottom.
    void (*backward)(const float* d, const float* top, const float* bottom, int width, int channels,
                     bool maximum, float* d_top, float* d_bottom);
};

#define DIPEDGE_DECLARE_POOL(ns)           \
    namespace ns {                         \
    extern const PoolKernels pool_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_POOL)

}  // namespace dipedge
