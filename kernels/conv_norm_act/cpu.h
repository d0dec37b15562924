// Row kernels of the padded convolution with its normalise-activate prologue and statistics epilogue.
// The contract is this folder's __init__.py; kernels/engine/conv.cpp drives these over a picture.
//
// All pictures are [rows, columns, channels] of cells (float or bf16), channels padded to whole blocks
// with zeros in the surplus. Strides are in cells (or floats where the row is float); `pixels` counts
// pixels of a row. Weights, products and sums are float32.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

// One tap of a convolution: where its first pixel's channels lie, and its packed weights.
template <class Cell>
struct Tap {
    const Cell* pixels;
    const Cell* weights;
};

template <class Cell>
struct ConvKernels {
    // Cells that `pack` writes for a [rows, columns] matrix, columns a multiple of 16.
    size_t (*packed_size)(int rows, int columns);

    // Packs weights [rows, columns] (row stride `stride`, columns contiguous) into column panels.
    void (*pack)(const float* weights, ptrdiff_t stride, int rows, int columns, Cell* packed);

    // The same for the transposed matrix: packs [columns, rows] read from weights [rows, columns].
    // Panel columns run over the `rows`, padded with zeros to `padded_rows` (a multiple of 16).
    void (*pack_transposed)(const float* weights, ptrdiff_t stride, int rows, int columns, int padded_rows,
                            Cell* packed);

    // out[p, :] (+)= sum over taps t and depth k of tap.pixels[p * pixel_stride + k] * W_t[k, :].
    // `columns` is the width of out, a multiple of 16.
    void (*multiply)(const Tap<Cell>* taps, int tap_count, int depth, int columns, int pixels,
                     ptrdiff_t pixel_stride, float* out, ptrdiff_t out_stride, bool accumulate);

    // The outer product sums over pixels, for which bf16 wants pairs of pixels side by side: its rows
    // are turned once and then used for every tap. Where `turns` is false rows serve as they are.
    bool turns;
    size_t (*left_size)(int pixels, int channels, int step);
    void (*turn_left)(const Cell* row, int pixels, int channels, int step, Cell* left);
    size_t (*right_size)(int pixels, int columns);
    void (*turn_right)(const Cell* rows, int pixels, int columns, Cell* right);

    // dw[k, :] += sum over p < pixels of a[first + p * step, k] * b[p, :], k < depth; a is a row of
    // left_pixels pixels of `channels` cells and b of `columns` cells, both turned where `turns`.
    void (*multiply_outer)(const Cell* left, int left_pixels, int channels, int step, int first, int depth,
                           const Cell* right, int columns, int pixels, float* dw, ptrdiff_t dw_stride);

    // to[p, :] = LeakyReLU(y[p, :] * scale + shift).
    void (*norm_act)(const Cell* y, ptrdiff_t y_stride, int pixels, int channels, const float* scale,
                     const float* shift, float slope, Cell* to, ptrdiff_t to_stride);

    // to = from as cells; adds to sums[0..channels) the sum over pixels and to sums[channels..) the sum of
    // squares of what is stored, where sums is not null.
    void (*store)(const float* from, ptrdiff_t from_stride, int pixels, int channels, Cell* to,
                  ptrdiff_t to_stride, double* sums);

    // The same sums of a row that is stored already.
    void (*moments)(const Cell* y, ptrdiff_t stride, int pixels, int channels, double* sums);

    // Batch norm's backward as one affine map: to = a * d + b * y + c, all per channel.
    void (*norm_backward)(const Cell* d, ptrdiff_t d_stride, const Cell* y, ptrdiff_t y_stride, int pixels,
                          int channels, const float* a, const float* b, const float* c, Cell* to,
                          ptrdiff_t to_stride);

    // d = (fresh + earlier) * LeakyReLU'(y * scale + shift); sums[0..channels) += d,
    // sums[channels..) += d * xhat with xhat = y * spread + centre. `earlier` (stride of d) may be null.
    void (*act_backward)(const float* fresh, ptrdiff_t fresh_stride, const Cell* earlier, const Cell* y,
                         ptrdiff_t y_stride, int pixels, int channels, const float* scale, const float* shift,
                         float slope, const float* spread, const float* centre, Cell* d, ptrdiff_t d_stride,
                         double* sums);

    // d = fresh + earlier; `earlier` (stride of d) may be null.
    void (*store_gradient)(const float* fresh, ptrdiff_t fresh_stride, const Cell* earlier, int pixels,
                           int channels, Cell* d, ptrdiff_t d_stride);

    // to[i] += from[i] over `count` floats, a multiple of 16.
    void (*add)(const float* from, size_t count, float* to);
};

#define DIPEDGE_DECLARE_CONV(ns)                  \
    namespace ns {                                \
    extern const ConvKernels<float> conv_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_CONV)

#define DIPEDGE_DECLARE_CONV_BF16(ns)                 \
    namespace ns {                                    \
    extern const ConvKernels<bf16> conv_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_CONV_BF16)

#if defined(DIPEDGE_HAS_BF16_ISAS)
namespace amx {
void configure_tiles();
}
#endif

}  // namespace dipedge
