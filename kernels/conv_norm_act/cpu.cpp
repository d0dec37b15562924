// Padded convolution with normalise-activate prologue and statistics epilogue: the CPU row kernels.
//
// A k x k convolution, its gradient by the input and its gradient by the weights are three matrix
// products over rows of pixels that the driver has packed (padded, normalised, activated) into a buffer
// that stays in L2. With channels innermost a tap of the convolution is nothing but an offset into that
// buffer, so there is no im2col: `multiply` walks a list of taps.
//
// `multiply` keeps a tile of tile_rows pixels x tile_vectors vectors of outputs in registers (6 x 4 on
// AVX-512: 24 accumulators, 4 weight vectors, 1 broadcast, of 32 registers; 10 loads for 24 FMA, under
// the two-loads-a-cycle limit). Taps are the outer loop: one tap's panel (128 x 64 floats, 32 KiB) stays
// in L1 while the pixels of the row stream past it; the accumulators go to memory once per tap, 48
// accesses for 3072 FMA.
//
// `multiply_outer` is the same tile turned round: inputs x outputs accumulators over the row's pixels.
#include "conv_norm_act/cpu.h"

#include <string.h>

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

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
void multiply_tile(const float* pixels, ptrdiff_t pixel_stride, const float* weights, int depth,
                   float* out, ptrdiff_t out_stride, bool accumulate) {
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
            multiply_rest<M - 1, N>(rest, pixels, pixel_stride, weights, depth, out, out_stride,
                                    accumulate);
        }
    }
}

template <int N>
void multiply_panel(const float* pixels, int count, ptrdiff_t pixel_stride, const float* weights,
                    int depth, float* out, ptrdiff_t out_stride, bool accumulate) {
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

void multiply(const Tap* taps, int tap_count, int depth, int columns, int pixels, ptrdiff_t pixel_stride,
              float* out, ptrdiff_t out_stride, bool accumulate) {
    for (int from = 0; from < columns; from += panel_width) {
        const int width = columns - from < panel_width ? columns - from : panel_width;
        for (int t = 0; t < tap_count; ++t) {
            const float* panel = taps[t].weights + (ptrdiff_t)from * depth;
            for_width<tile_vectors>(
                width / Vec::lanes, PanelProduct{taps[t].pixels, pixels, pixel_stride, panel, depth,
                                                 out + from, out_stride, accumulate || t > 0});
        }
    }
}

template <int M, int N>
void outer_tile(const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride, int pixels,
                float* dw, ptrdiff_t dw_stride) {
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
void outer_rest(int rest, const float* a, ptrdiff_t a_stride, const float* b, ptrdiff_t b_stride,
                int pixels, float* dw, ptrdiff_t dw_stride) {
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
        outer_rest<tile_rows - 1, N>(depth - k, a + k, a_stride, b, b_stride, pixels,
                                     dw + k * dw_stride, dw_stride);
    }
};

void multiply_outer(const float* a, ptrdiff_t a_stride, int depth, const float* b, ptrdiff_t b_stride,
                    int columns, int pixels, float* dw, ptrdiff_t dw_stride) {
    for (int from = 0; from < columns; from += panel_width) {
        const int width = columns - from < panel_width ? columns - from : panel_width;
        for_width<tile_vectors>(width / Vec::lanes, OuterProduct{a, a_stride, depth, b + from, b_stride,
                                                                 pixels, dw + from, dw_stride});
    }
}

void norm_act(const float* y, ptrdiff_t y_stride, int pixels, int channels, const float* scale,
              const float* shift, float slope, float* to, ptrdiff_t to_stride) {
    const Vec slope_all = Vec::set1(slope);
    for (int p = 0; p < pixels; ++p, y += y_stride, to += to_stride) {
        for (int c = 0; c < channels; c += Vec::lanes) {
            const Vec normal = fma(Vec::load(y + c), Vec::load(scale + c), Vec::load(shift + c));
            leaky_relu(normal, slope_all).store(to + c);
        }
    }
}

void moments(const float* y, ptrdiff_t stride, int pixels, int channels, double* sums) {
    constexpr int block = 4;  // vectors at a time: eight running sums hide the latency of the adds
    for (int c = 0; c < channels; c += block * Vec::lanes) {
        const int left = (channels - c) / Vec::lanes;
        const int width = left < block ? left : block;
        Vec sum[block], squares[block];
        for (int n = 0; n < block; ++n) sum[n] = squares[n] = Vec::zero();
        const float* pixel = y + c;
        for (int p = 0; p < pixels; ++p, pixel += stride) {
            for (int n = 0; n < width; ++n) {
                const Vec value = Vec::load(pixel + n * Vec::lanes);
                sum[n] = sum[n] + value;
                squares[n] = fma(value, value, squares[n]);
            }
        }
        for (int n = 0; n < width; ++n) {
            add_to(sums + c + n * Vec::lanes, sum[n]);
            add_to(sums + channels + c + n * Vec::lanes, squares[n]);
        }
    }
}

void norm_backward(const float* d, ptrdiff_t d_stride, const float* y, ptrdiff_t y_stride, int pixels,
                   int channels, const float* a, const float* b, const float* c, float* to,
                   ptrdiff_t to_stride) {
    for (int p = 0; p < pixels; ++p, d += d_stride, y += y_stride, to += to_stride) {
        for (int i = 0; i < channels; i += Vec::lanes) {
            const Vec from_y = fma(Vec::load(y + i), Vec::load(b + i), Vec::load(c + i));
            fma(Vec::load(d + i), Vec::load(a + i), from_y).store(to + i);
        }
    }
}

void act_backward(float* d, ptrdiff_t d_stride, const float* y, ptrdiff_t y_stride, int pixels,
                  int channels, const float* scale, const float* shift, float slope, const float* spread,
                  const float* centre, double* sums) {
    const Vec one = Vec::set1(1.0f), slope_all = Vec::set1(slope);
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec scale_v = Vec::load(scale + c), shift_v = Vec::load(shift + c);
        const Vec spread_v = Vec::load(spread + c), centre_v = Vec::load(centre + c);
        Vec sum_d = Vec::zero(), sum_dx = Vec::zero();
        for (int p = 0; p < pixels; ++p) {
            const Vec value = Vec::load(y + p * y_stride + c);
            const Vec slope_here = where_positive(fma(value, scale_v, shift_v), one, slope_all);
            const Vec gradient = Vec::load(d + p * d_stride + c) * slope_here;
            gradient.store(d + p * d_stride + c);
            sum_d = sum_d + gradient;
            sum_dx = fma(gradient, fma(value, spread_v, centre_v), sum_dx);
        }
        add_to(sums + c, sum_d);
        add_to(sums + channels + c, sum_dx);
    }
}

void add(const float* from, ptrdiff_t from_stride, int pixels, int channels, float* to,
         ptrdiff_t to_stride) {
    for (int p = 0; p < pixels; ++p, from += from_stride, to += to_stride) {
        for (int c = 0; c < channels; c += Vec::lanes) (Vec::load(to + c) + Vec::load(from + c)).store(to + c);
    }
}

}  // namespace

extern const ConvKernels conv_kernels = {packed_size, pack,          pack_transposed, multiply, multiply_outer,
                                         norm_act,    moments,       norm_backward,   act_backward, add};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
