// Row kernels of the padded convolution with its normalise-activate prologue and statistics epilogue.
// The contract is this folder's __init__.py; kernels/engine/conv_op.cpp drives these over a picture.
//
// All pictures are [rows, columns, channels] with channels padded to a multiple of 16 ("padded
// channels", zeros in the surplus); `vectors` counts channels in Vec, `pixels` counts pixels of a row.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

// One tap of a convolution: where its first pixel's channels lie, and its packed weights.
struct Tap {
    const float* pixels;
    const float* weights;
};

struct ConvKernels {
    // Floats that `pack` writes for a [rows, columns] matrix, columns a multiple of 16.
    size_t (*packed_size)(int rows, int columns);

    // Packs weights [rows, columns] (row stride `stride`, columns contiguous) into column panels.
    void (*pack)(const float* weights, ptrdiff_t stride, int rows, int columns, float* packed);

    // The same for the transposed matrix: packs [columns, rows] read from weights [rows, columns].
    // Panel columns run over the `rows`, padded with zeros to `padded_rows` (a multiple of 16).
    void (*pack_transposed)(const float* weights, ptrdiff_t stride, int rows, int columns,
                            int padded_rows, float* packed);

    // out[p, :] (+)= sum over taps t and depth k of tap.pixels[p * pixel_stride + k] * W_t[k, :].
    // `columns` is the width of out, a multiple of 16; strides in floats.
    void (*multiply)(const Tap* taps, int tap_count, int depth, int columns, int pixels,
                     ptrdiff_t pixel_stride, float* out, ptrdiff_t out_stride, bool accumulate);

    // dw[k, :] += sum over pixels p of a[p * a_stride + k] * b[p * b_stride + :], k < depth.
    void (*multiply_outer)(const float* a, ptrdiff_t a_stride, int depth, const float* b,
                           ptrdiff_t b_stride, int columns, int pixels, float* dw,
                           ptrdiff_t dw_stride);

    // to[p, :] = LeakyReLU(y[p, :] * scale + shift). Strides in floats, `channels` padded.
    void (*norm_act)(const float* y, ptrdiff_t y_stride, int pixels, int channels, const float* scale,
                     const float* shift, float slope, float* to, ptrdiff_t to_stride);

    // Adds to sums[0..channels) the sum over pixels, to sums[channels..) the sum of squares.
    void (*moments)(const float* y, ptrdiff_t stride, int pixels, int channels, double* sums);

    // Batch norm's backward as one affine map: to = a * d + b * y + c, all per channel.
    void (*norm_backward)(const float* d, ptrdiff_t d_stride, const float* y, ptrdiff_t y_stride,
                          int pixels, int channels, const float* a, const float* b, const float* c,
                          float* to, ptrdiff_t to_stride);

    // d *= LeakyReLU'(y * scale + shift), in place; sums[0..channels) += d, sums[channels..) += d * xhat
    // with xhat = y * spread + centre.
    void (*act_backward)(float* d, ptrdiff_t d_stride, const float* y, ptrdiff_t y_stride, int pixels,
                         int channels, const float* scale, const float* shift, float slope,
                         const float* spread, const float* centre, double* sums);

    // to[p, :] += from[p, :].
    void (*add)(const float* from, ptrdiff_t from_stride, int pixels, int channels, float* to,
                ptrdiff_t to_stride);
};

#define DIPEDGE_DECLARE_CONV(ns) \
    namespace ns {               \
    extern const ConvKernels conv_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_CONV)

}  // namespace dipedge
