// Row kernels of the x2 upsampling, the concatenation with the skip and the batch norm over both.
// The contract is this folder's __init__.py; kernels/engine/merge_op.cpp drives these.
//
// Layers and gradients are cells (float or bf16); rows of the interpolation between them are float32, so
// that its weights act on unrounded values. Rows are [pixels, channels], channels padded.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

template <class Cell>
struct MergeKernels {
    // to = out_scale * ((1 - weight) * act(above) + weight * act(below)) + out_shift, where act is
    // LeakyReLU(y * scale + shift): one output row between two rows of the lower level.
    void (*blend_act)(const Cell* above, const Cell* below, float weight, int pixels, int channels,
                      const float* scale, const float* shift, float slope, const float* out_scale,
                      const float* out_shift, float* to, ptrdiff_t to_stride);

    // Fills output columns [begin, end) from a row of the lower level whose column `first` lies at
    // `from` and whose columns are clamped to [0, width). nearest, or bilinear with half-pixel centres.
    // With `positions` (a sampled picture, one column of each pair) column p is column positions[p].
    void (*widen)(const float* from, int first, int width, bool bilinear, int begin, int end,
                  const int* positions, int channels, float* to, ptrdiff_t to_stride);
    void (*widen_cells)(const float* from, int first, int width, bool bilinear, int begin, int end,
                        const int* positions, int channels, Cell* to, ptrdiff_t to_stride);

    // Adjoint of widen: writes columns [begin, end) of the lower level's `width` from a row of the upper
    // level whose column `first` lies at `from` and of which columns from `columns` on were cropped.
    void (*narrow)(const float* from, int first, int columns, int width, bool bilinear, int begin, int end,
                   int channels, float* to);

    // Adjoint of a sampled widen: the row has one column per column of the lower level, from `first` on.
    void (*narrow_sampled)(const float* from, int first, const int* positions, int width, bool bilinear,
                           int begin, int end, int channels, float* to);

    // to = weights[0] * rows[0] + ... of three rows; null rows count as zero.
    void (*weigh_rows)(const float* const* rows, const float* weights, size_t count, float* to);

    // to = 0.75 * (b + c) + 0.25 * (a + d) (bilinear) over `count` floats; null rows count as zero.
    void (*gather_rows)(const float* a, const float* b, const float* c, const float* d, size_t count,
                        float* to);

    // to = b + c (nearest); null rows count as zero.
    void (*add_rows)(const float* b, const float* c, size_t count, float* to);

    // to = a * d + b * x + c, per channel: the norm's backward, x being float32.
    void (*norm_backward)(const Cell* d, ptrdiff_t d_stride, const float* x, ptrdiff_t x_stride, int pixels,
                          int channels, const float* a, const float* b, const float* c, float* to,
                          ptrdiff_t to_stride);

    // sums[0..channels) += d, sums[channels..) += d * (x * spread + centre).
    void (*norm_sums)(const Cell* d, ptrdiff_t d_stride, const float* x, ptrdiff_t x_stride, int pixels,
                      int channels, const float* spread, const float* centre, double* sums);
};

#define DIPEDGE_DECLARE_MERGE(ns)                   \
    namespace ns {                                  \
    extern const MergeKernels<float> merge_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_MERGE)

#define DIPEDGE_DECLARE_MERGE_BF16(ns)                  \
    namespace ns {                                      \
    extern const MergeKernels<bf16> merge_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_MERGE_BF16)

}  // namespace dipedge
