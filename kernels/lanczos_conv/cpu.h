// Row kernels of separable decimation with replicated borders, alone and ahead of a convolution.
// The contract is this folder's __init__.py. kernels/engine/decimate.cpp drives LanczosKernels (the data
// term), kernels/engine/decimated_conv.cpp drives FilterKernels (a network's downsampling).
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

// Channels are padded to whole blocks here, as in every layer.
template <class Cell>
struct FilterKernels {
    // to[i] = sum over n < count of weights[n] * rows[n][i], i < cells (a multiple of 16).
    void (*sum_rows)(const Cell* const* rows, const float* weights, int count, size_t cells, float* to);

    // to[p, :] = sum over q < window of weights[q] * from[p + q, :], p < pixels.
    void (*slide)(const float* from, const float* weights, int window, int pixels, int channels, Cell* to);

    // to[p, :] = sum over begin[p] <= n < begin[p + 1] of weights[n] * from[places[n], :], p < pixels.
    void (*gather)(const float* from, const int* begin, const int* places, const float* weights, int pixels,
                   int channels, float* to);
};

#define DIPEDGE_DECLARE_LANCZOS(ns)                   \
    namespace ns {                                    \
    extern const LanczosKernels lanczos_kernels;      \
    extern const FilterKernels<float> filter_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_LANCZOS)

#define DIPEDGE_DECLARE_FILTER_BF16(ns)                   \
    namespace ns {                                        \
    extern const FilterKernels<bf16> filter_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_FILTER_BF16)

}  // namespace dipedge
