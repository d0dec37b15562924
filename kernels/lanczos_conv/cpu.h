// Row kernels of separable Lanczos decimation with replication padding.
// The contract is this folder's __init__.py; kernels/engine/lanczos.cpp holds the weights and drives these.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

struct LanczosKernels {
    // to[i] += weight * from[i] over `count` floats.
    void (*add_scaled)(float weight, const float* from, size_t count, float* to);

    // to[x, c] = sum over k of weights[k] * from[clamp(x * step - pad + k), c], x < out_width.
    void (*decimate_row)(const float* from, int width, int channels, const float* weights, int taps, int step,
                         int pad, int out_width, float* to);

    // Its adjoint: overwrites to [width, channels].
    void (*spread_row)(const float* from, int width, int channels, const float* weights, int taps, int step,
                       int pad, int out_width, float* to);
};

#define DIPEDGE_DECLARE_LANCZOS(ns)              \
    namespace ns {                               \
    extern const LanczosKernels lanczos_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_LANCZOS)

}  // namespace dipedge
