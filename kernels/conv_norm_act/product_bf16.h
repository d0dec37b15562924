// The matrix products of the convolution in bfloat16 with float32 sums; included by cpu.cpp alone.
//
// Weights are packed in panels of 16 columns, two rows (k, k + 1) side by side: [depth / 2][16][2], depth
// padded with zeros to 32. That is what vdpbf16ps takes as its second operand and, sixteen such rows at
// a time, what an AMX tile takes; the packed source row is the first operand of both as it is. AMX works
// on 32 pixels x 32 columns (four tiles of sums, two of pixels, two of weights); pixels that do not fill
// a tile go through vdpbf16ps, 6 pixels x 4 panels of sums in registers.
//
// The outer product sums over pixels, so pixels must lie in pairs: `turn_left` transposes a source row
// to [channel][pixel], where a tap's shift is an address and nothing more, and `turn_right` interleaves
// the rows of the gradient two by two. Both cost one pass over a row that stays in L2.
#pragma once

#include <immintrin.h>
#include <string.h>

#include "conv_norm_act/cpu.h"
#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {
namespace half {

constexpr int panel = 16;        // columns of a panel
constexpr int depth_block = 32;  // values of one row of a tile
constexpr int rows_at_once = 6, panels_at_once = 4;

static inline int round_up(int value, int block) { return (value + block - 1) / block * block; }

static inline uint16_t rounded(float value) {
    const __m128bh bits = _mm_cvtneps_pbh(_mm_set_ss(value));
    return (uint16_t)_mm_extract_epi16((__m128i)bits, 0);
}

size_t packed_size(int rows, int columns) { return (size_t)round_up(rows, depth_block) * columns; }

void pack(const float* weights, ptrdiff_t stride, int rows, int columns, bf16* packed) {
    const int depth = round_up(rows, depth_block);
    for (int from = 0; from < columns; from += panel) {
        for (int k = 0; k < depth; k += 2, packed += 2 * panel) {
            const Vec even = k < rows ? Vec::load(weights + k * stride + from) : Vec::zero();
            const Vec odd = k + 1 < rows ? Vec::load(weights + (k + 1) * stride + from) : Vec::zero();
            const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even.value));
            const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd.value));
            _mm512_storeu_si512(packed, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
        }
    }
}

void pack_transposed(const float* weights, ptrdiff_t stride, int rows, int columns, int padded_rows,
                     bf16* packed) {
    const int depth = round_up(columns, depth_block);
    for (int from = 0; from < padded_rows; from += panel, packed += (ptrdiff_t)depth * panel) {
        for (int i = 0; i < panel; ++i) {
            const float* row = weights + (from + i) * stride;
            for (int k = 0; k < depth; ++k) {
                const bool inside = from + i < rows && k < columns;
                packed[(k / 2) * 2 * panel + 2 * i + k % 2].bits = inside ? rounded(row[k]) : 0;
            }
        }
    }
}

static inline __m512bh pair(const bf16* from) {
    int two;
    memcpy(&two, from, 4);
    return (__m512bh)_mm512_set1_epi32(two);
}

template <int M, int N>
void multiply_tile(const Tap<bf16>* taps, int tap_count, int pairs, ptrdiff_t panel_cells,
                   ptrdiff_t panel_offset, ptrdiff_t pixel_offset, ptrdiff_t pixel_stride, float* out,
                   ptrdiff_t out_stride, bool accumulate) {
    __m512 sum[M][N];
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) {
            sum[m][n] = accumulate ? _mm512_loadu_ps(out + m * out_stride + n * panel) : _mm512_setzero_ps();
        }
    }
    for (int t = 0; t < tap_count; ++t) {
        const bf16* pixels = taps[t].pixels + pixel_offset;
        const bf16* weights = taps[t].weights + panel_offset;
        for (int k = 0; k < pairs; ++k, weights += 2 * panel, pixels += 2) {
            __m512bh w[N];
            for (int n = 0; n < N; ++n) w[n] = (__m512bh)_mm512_loadu_si512(weights + n * panel_cells);
            for (int m = 0; m < M; ++m) {
                const __m512bh pixel = pair(pixels + m * pixel_stride);
                for (int n = 0; n < N; ++n) sum[m][n] = _mm512_dpbf16_ps(sum[m][n], pixel, w[n]);
            }
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) _mm512_storeu_ps(out + m * out_stride + n * panel, sum[m][n]);
    }
}

// What all tiles of one product share.
struct Product {
    const Tap<bf16>* taps;
    int tap_count, pairs;
    ptrdiff_t panel_cells, pixel_stride;
    float* out;
    ptrdiff_t out_stride;
    bool accumulate;
};

template <int M, int N>
void multiply_rows(const Product& p, int rest, int row, int column) {
    if constexpr (M > 0) {
        if (rest >= M) {
            multiply_tile<M, N>(p.taps, p.tap_count, p.pairs, p.panel_cells, column / panel * p.panel_cells,
                                row * p.pixel_stride, p.pixel_stride, p.out + row * p.out_stride + column,
                                p.out_stride, p.accumulate);
        } else {
            multiply_rows<M - 1, N>(p, rest, row, column);
        }
    }
}

template <int N>
void multiply_block(const Product& p, int first, int pixels, int column) {
    for (int row = first; row < pixels; row += rows_at_once) {
        multiply_rows<rows_at_once, N>(p, pixels - row, row, column);
    }
}

// Pixels from `first` on, all columns, through vdpbf16ps.
void multiply_vectors(const Product& p, int first, int columns, int pixels) {
    int column = 0;
    for (; column + panels_at_once * panel <= columns; column += panels_at_once * panel) {
        multiply_block<panels_at_once>(p, first, pixels, column);
    }
    switch ((columns - column) / panel) {
        case 1:
            multiply_block<1>(p, first, pixels, column);
            break;
        case 2:
            multiply_block<2>(p, first, pixels, column);
            break;
        case 3:
            multiply_block<3>(p, first, pixels, column);
            break;
    }
}

size_t left_size(int pixels, int channels, int step) {
    const int row = round_up((pixels + step - 1) / step, depth_block) + depth_block;
    return (size_t)step * channels * row;
}

size_t right_size(int pixels, int columns) { return (size_t)round_up(pixels, depth_block) * columns; }

// 16 x 16 transpose of 32-bit values.
static inline void transpose(__m512i (&r)[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

// Two pixels' 16 channels side by side: 16 pairs.
static inline __m512i interleave(const bf16* first, const bf16* second) {
    const __m512i low =
        first ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)first)) : _mm512_setzero_si512();
    const __m512i high =
        second ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)second)) : _mm512_setzero_si512();
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// left[phase][channel][position]: pixel step * position + phase.
void turn_left(const bf16* row, int pixels, int channels, int step, bf16* left) {
    const int length = (int)(left_size(pixels, 1, step) / step);
    for (int phase = 0; phase < step; ++phase) {
        const auto pixel = [&](int position, int c) -> const bf16* {
            const int x = position * step + phase;
            return x < pixels ? row + (ptrdiff_t)x * channels + c : nullptr;
        };
        for (int c = 0; c < channels; c += 16) {
            bf16* to = left + ((ptrdiff_t)phase * channels + c) * length;
            for (int from = 0; from < length; from += depth_block) {
                __m512i r[16];
                for (int i = 0; i < 16; ++i) {
                    r[i] = interleave(pixel(from + 2 * i, c), pixel(from + 2 * i + 1, c));
                }
                transpose(r);
                for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + (ptrdiff_t)i * length + from, r[i]);
            }
        }
    }
}

// right[pixel / 2][column][2].
void turn_right(const bf16* rows, int pixels, int columns, bf16* right) {
    const int padded = round_up(pixels, depth_block);
    for (int p = 0; p < padded; p += 2) {
        const bf16* first = p < pixels ? rows + (ptrdiff_t)p * columns : nullptr;
        const bf16* second = p + 1 < pixels ? rows + (ptrdiff_t)(p + 1) * columns : nullptr;
        for (int c = 0; c < columns; c += 16, right += 32) {
            _mm512_storeu_si512(right,
                                interleave(first ? first + c : nullptr, second ? second + c : nullptr));
        }
    }
}

template <int M, int N>
void outer_tile(const bf16* left, ptrdiff_t left_stride, const bf16* right, int columns, int pairs, float* dw,
                ptrdiff_t dw_stride) {
    __m512 sum[M][N];
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sum[m][n] = _mm512_loadu_ps(dw + m * dw_stride + n * 16);
    }
    for (int p = 0; p < pairs; ++p, left += 2, right += 2 * columns) {
        __m512bh b[N];
        for (int n = 0; n < N; ++n) b[n] = (__m512bh)_mm512_loadu_si512(right + n * 32);
        for (int m = 0; m < M; ++m) {
            const __m512bh a = pair(left + m * left_stride);
            for (int n = 0; n < N; ++n) sum[m][n] = _mm512_dpbf16_ps(sum[m][n], a, b[n]);
        }
    }
    for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) _mm512_storeu_ps(dw + m * dw_stride + n * 16, sum[m][n]);
    }
}

template <int M, int N>
void outer_rows(int rest, const bf16* left, ptrdiff_t left_stride, const bf16* right, int columns, int pairs,
                float* dw, ptrdiff_t dw_stride) {
    if constexpr (M > 0) {
        if (rest >= M) {
            outer_tile<M, N>(left, left_stride, right, columns, pairs, dw, dw_stride);
        } else {
            outer_rows<M - 1, N>(rest, left, left_stride, right, columns, pairs, dw, dw_stride);
        }
    }
}

template <int N>
void outer_block(const bf16* left, ptrdiff_t left_stride, int first, int depth, const bf16* right,
                 int columns, int pairs, float* dw, ptrdiff_t dw_stride) {
    for (int k = first; k < depth; k += rows_at_once) {
        outer_rows<rows_at_once, N>(depth - k, left + k * left_stride, left_stride, right, columns, pairs,
                                    dw + k * dw_stride, dw_stride);
    }
}

// Inputs from `first` on, all columns, through vdpbf16ps.
void outer_vectors(const bf16* left, ptrdiff_t left_stride, int first, int depth, const bf16* right,
                   int columns, int pairs, float* dw, ptrdiff_t dw_stride) {
    int column = 0;
    for (; column + panels_at_once * 16 <= columns; column += panels_at_once * 16) {
        outer_block<panels_at_once>(left, left_stride, first, depth, right + 2 * column, columns, pairs,
                                    dw + column, dw_stride);
    }
    const bf16* rest = right + 2 * column;
    switch ((columns - column) / 16) {
        case 1:
            outer_block<1>(left, left_stride, first, depth, rest, columns, pairs, dw + column, dw_stride);
            break;
        case 2:
            outer_block<2>(left, left_stride, first, depth, rest, columns, pairs, dw + column, dw_stride);
            break;
        case 3:
            outer_block<3>(left, left_stride, first, depth, rest, columns, pairs, dw + column, dw_stride);
            break;
    }
}

}  // namespace half
}  // namespace
}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge

#include "conv_norm_act/product_amx.h"
