// The matrix products of the convolution in float32; included by cpu.cpp alone, once per instruction set.
//
// `multiply` keeps a tile of tile_rows pixels x tile_vectors vectors of outputs in registers (6 x 4 on
// AVX-512: 24 accumulators, 4 weight vectors, 1 broadcast, of 32 registers; 10 loads for 24 FMA, under
// the two-loads-a-cycle limit). Taps are the outer loop: one tap's panel (128 x 64 floats, 32 KiB) stays
// in L1 while the pixels of the row stream past it; the accumulators go to memory once per tap, 48
// accesses for 3072 FMA. `multiply_outer` is the same tile turned round: inputs x outputs accumulators
// over the row's pixels.
#pragma once

#include <string.h>

#include "conv_norm_act/cpu.h"
#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {
namespace fp32 {

constexpr int panel_width = tile_vectors * Vec::lanes;

size_t packed_size(int rows, int columns) { return (size_t)rows * columns; }

// Panels are tile_vectors wide, the last one narrower; each is [rows, width] contiguous.
void pack(const float* weights, ptrdiff_t stride, int rows, int columns, float* packed) {
    for (int from = 0; from < columns; from += panel_width) {
        const int width = columns - from < panel_width ? columns - from : panel_width;
        for (int row = 0; row < rows; ++row, packed += width) {
            memcpy(packed, weights + row * stride + from, sizeof(float) * width);
        }
    }
}

void pack_transposed(const float* weights, ptrdiff_t stride, int rows, int columns, int padded_rows,
                     float* packed) {
    for (int from = 0; from < padded_rows; from += panel_width) {
        const int width = padded_rows - from < panel_width ? padded_rows - from : panel_width;
        const int filled = rows - from < width ? (rows - from > 0 ? rows - from : 0) : width;
        for (int i = 0; i < width; ++i) {
            const float* row = weights + (from + i) * stride;
            float* to = packed + i;
            for (int column = 0; column < columns; ++column, to += width) {
                *to = i < filled ? row[column] : 0.0f;
            }
        }
        packed += (ptrdiff_t)columns * width;
    }
}

template <int M, int N>
void multiply_tile(const float* pixels, ptrdiff_t pixel_stride, const float* weights, int depth, float* out,
                   ptrdiff_t out_stride, bool accumulate) {
    Vec sum[M][N];
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) {
            sum[m][n] = accumulate ? Vec::load(out + m * out_stride + n * Vec::lanes) : Vec::zero();
        }
    }
    for (int k = 0; k < depth; ++k, weights += N * Vec::lanes) {
        Vec w[N];
        for (int n = 0; n < N; ++n) w[n] = Vec::load(weights + n * Vec::lanes);
        for (int m = 0; m < M; ++m) {
            const Vec pixel = Vec::set1(pixels[m * pixel_stride + k]);
            for (int n = 0; n < N; ++n) sum[m][n] = fma(pixel, w[n], sum[m][n]);
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sum[m][n].store(out + m * out_stride + n * Vec::lanes);
    }
}

template <int M, int N>
void multiply_rest(int rest, const float* pixels, ptrdiff_t pixel_stride, const float* weights, int depth,
                   float* out, ptrdiff_t out_stride, bool accumulate) {
    if constexpr (M > 0) {
        if (rest == M) {
            multiply_tile<M, N>(pixels, pixel_stride, weights, depth, out, out_stride, accumulate);
        } else {
            multiply_rest<M - 1, N>(rest, pixels, pixel_stride, weights, depth, out, out_stride, accumulate);
        }
    }
}

template <int N>
void multiply_panel(const float* pixels, int count, ptrdiff_t pixel_stride, const float* weights, int depth,
                    float* out, ptrdiff_t out_stride, bool accumulate) {
    int p = 0;
    for (; p + tile_rows <= count; p += tile_rows) {
        multiply_tile<tile_rows, N>(pixels + p * pixel_stride, pixel_stride, weights, depth,
                                    out + p * out_stride, out_stride, accumulate);
    }
    multiply_rest<tile_rows - 1, N>(count - p, pixels + p * pixel_stride, pixel_stride, weights, depth,
                                    out + p * out_stride, out_stride, accumulate);
}

// Calls body<N>() for the panel of `vectors` vectors at hand; N must be a compile-time number.
template <int N, class Body>
void for_width(int vectors, const Body& body) {
    if constexpr (N > 0) {
        if (vectors == N) {
            body.template run<N>();
        } else {
            for_width<N - 1>(vectors, body);
        }
    }
}

struct PanelProduct {
    const float* pixels;
    int count;
    ptrdiff_t pixel_stride;
    const float* weights;
    int depth;
    float* out;
    ptrdiff_t out_stride;
    bool accumulate;
    template <int N>
    void run() const {
        multiply_panel<N>(pixels, count, pixel_stride, weights, depth, out, out_stride, accumulate);
    }
};

void multiply(const Tap<float>* taps, int tap_count, int depth, int columns, int pixels,
              ptrdiff_t pixel_stride, float* out, ptrdiff_t out_stride, bool accumulate) {
    for (int from = 0; from < columns; from += panel_width) {
        const int width = columns - from < panel_width ? columns - from : panel_width;
        for (int t = 0; t < tap_count; ++t) {
            const float* panel = taps[t].weights + (ptrdiff_t)from * depth;
            for_width<tile_vectors>(width / Vec::lanes,
                                    PanelProduct{taps[t].pixels, pixels, pixel_stride, panel, depth,
                                                 out + from, out_stride, accumulate || t > 0});
        }
    }
}

template <int M, int N>
void outer_tile(const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, int pixels, float* dw,
                ptrdiff_t dw_stride) {
    Vec sum[M][N];
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sum[m][n] = Vec::load(dw + m * dw_stride + n * Vec::lanes);
    }
    for (int p = 0; p < pixels; ++p, a += a_stride, b += b_stride) {
        Vec right[N];
        for (int n = 0; n < N; ++n) right[n] = Vec::load(b + n * Vec::lanes);
        for (int m = 0; m < M; ++m) {
            const Vec left = Vec::set1(a[m]);
            for (int n = 0; n < N; ++n) sum[m][n] = fma(left, right[n], sum[m][n]);
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sum[m][n].store(dw + m * dw_stride + n * Vec::lanes);
    }
}

template <int M, int N>
void outer_rest(int rest, const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, int pixels,
                float* dw, ptrdiff_t dw_stride) {
    if constexpr (M > 0) {
        if (rest == M) {
            outer_tile<M, N>(a, a_stride, b, b_stride, pixels, dw, dw_stride);
        } else {
            outer_rest<M - 1, N>(rest, a, a_stride, b, b_stride, pixels, dw, dw_stride);
        }
    }
}

struct OuterProduct {
    const float* a;
    ptrdiff_t a_stride;
    int depth;
    const float* b;
    ptrdiff_t b_stride;
    int pixels;
    float* dw;
    ptrdiff_t dw_stride;
    template <int N>
    void run() const {
        int k = 0;
        for (; k + tile_rows <= depth; k += tile_rows) {
            outer_tile<tile_rows, N>(a + k, a_stride, b, b_stride, pixels, dw + k * dw_stride, dw_stride);
        }
        outer_rest<tile_rows - 1, N>(depth - k, a + k, a_stride, b, b_stride, pixels, dw + k * dw_stride,
                                     dw_stride);
    }
};

size_t left_size(int pixels, int channels, int) { return (size_t)pixels * channels; }
size_t right_size(int pixels, int columns) { return (size_t)pixels * columns; }

void multiply_outer(const float* left, int, int channels, int step, int first, int depth, const float* right,
                    int columns, int pixels, float* dw, ptrdiff_t dw_stride) {
    const float* a = left + (ptrdiff_t)first * channels;
    const ptrdiff_t a_stride = (ptrdiff_t)step * channels;
    for (int from = 0; from < columns; from += panel_width) {
        const int width = columns - from < panel_width ? columns - from : panel_width;
        for_width<tile_vectors>(width / Vec::lanes, OuterProduct{a, a_stride, depth, right + from, columns,
                                                                 pixels, dw + from, dw_stride});
    }
}

}  // namespace fp32
}  // namespace
}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
