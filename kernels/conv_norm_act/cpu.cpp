// Padded convolution with normalise-activate prologue and statistics epilogue: the CPU row kernels.
//
// A k x k convolution, its gradient by the input and its gradient by the weights are three matrix
// products over rows of pixels that the driver has packed (padded, normalised, activated) into a buffer
// that stays in L2. With channels innermost a tap of the convolution is nothing but an offset into that
// buffer, so there is no im2col: `multiply` walks a list of taps. The products stand in product_fp32.h
// and product_bf16.h; here are the passes over rows on both sides of them, written once for both cells.
#include "conv_norm_act/cpu.h"

#include "conv_norm_act/product_fp32.h"
#include "simd/vec.h"
#if defined(DIPEDGE_ISA_AVX512BF16)
#include "conv_norm_act/product_bf16.h"
#endif

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

template <class Cell>
void norm_act(const Cell* y, ptrdiff_t y_stride, int pixels, int channels, const float* scale,
              const float* shift, float slope, Cell* to, ptrdiff_t to_stride) {
    const Vec slope_all = Vec::set1(slope);
    for (int p = 0; p < pixels; ++p, y += y_stride, to += to_stride) {
        for (int c = 0; c < channels; c += Vec::lanes) {
            const Vec normal = fma(Vec::load(y + c), Vec::load(scale + c), Vec::load(shift + c));
            leaky_relu(normal, slope_all).store(to + c);
        }
    }
}

// Sums over the pixels of N vectors of channels from c on; `value(p, c)` yields the vector at pixel p,
// channel c. N is a compile-time number: running sums picked by a variable would lie in memory.
template <int N, class Value>
void sum_block(int pixels, int channels, int c, double* sums, const Value& value) {
    Vec sum[N], squares[N];
    for (int n = 0; n < N; ++n) sum[n] = squares[n] = Vec::zero();
    for (int p = 0; p < pixels; ++p) {
        for (int n = 0; n < N; ++n) {
            const Vec v = value(p, c + n * Vec::lanes);
            sum[n] = sum[n] + v;
            squares[n] = fma(v, v, squares[n]);
        }
    }
    for (int n = 0; n < N; ++n) {
        add_to(sums + c + n * Vec::lanes, sum[n]);
        add_to(sums + channels + c + n * Vec::lanes, squares[n]);
    }
}

// Four vectors at a time: eight running sums hide the latency of the additions.
template <class Value>
void sum_moments(int pixels, int channels, double* sums, const Value& value) {
    constexpr int block = 4;
    int c = 0;
    for (; c + block * Vec::lanes <= channels; c += block * Vec::lanes) {
        sum_block<block>(pixels, channels, c, sums, value);
    }
    for (; c + 2 * Vec::lanes <= channels; c += 2 * Vec::lanes) {
        sum_block<2>(pixels, channels, c, sums, value);
    }
    if (c < channels) sum_block<1>(pixels, channels, c, sums, value);
}

template <class Cell>
void moments(const Cell* y, ptrdiff_t stride, int pixels, int channels, double* sums) {
    sum_moments(pixels, channels, sums, [&](int p, int c) { return Vec::load(y + p * stride + c); });
}

template <class Cell>
void store(const float* from, ptrdiff_t from_stride, int pixels, int channels, Cell* to, ptrdiff_t to_stride,
           double* sums) {
    const auto copy = [&](int p, int c) {
        Vec::load(from + p * from_stride + c).store(to + p * to_stride + c);
        return Vec::load(to + p * to_stride + c);
    };
    if (sums) return sum_moments(pixels, channels, sums, copy);
    for (int p = 0; p < pixels; ++p) {
        for (int c = 0; c < channels; c += Vec::lanes) copy(p, c);
    }
}

template <class Cell>
void norm_backward(const Cell* d, ptrdiff_t d_stride, const Cell* y, ptrdiff_t y_stride, int pixels,
                   int channels, const float* a, const float* b, const float* c, Cell* to,
                   ptrdiff_t to_stride) {
    for (int p = 0; p < pixels; ++p, d += d_stride, y += y_stride, to += to_stride) {
        for (int i = 0; i < channels; i += Vec::lanes) {
            const Vec from_y = fma(Vec::load(y + i), Vec::load(b + i), Vec::load(c + i));
            fma(Vec::load(d + i), Vec::load(a + i), from_y).store(to + i);
        }
    }
}

template <class Cell>
void act_backward(const float* fresh, ptrdiff_t fresh_stride, const Cell* earlier, const Cell* y,
                  ptrdiff_t y_stride, int pixels, int channels, const float* scale, const float* shift,
                  float slope, const float* spread, const float* centre, Cell* d, ptrdiff_t d_stride,
                  double* sums) {
    const Vec one = Vec::set1(1.0f), slope_all = Vec::set1(slope);
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec scale_v = Vec::load(scale + c), shift_v = Vec::load(shift + c);
        const Vec spread_v = Vec::load(spread + c), centre_v = Vec::load(centre + c);
        Vec sum_d = Vec::zero(), sum_dx = Vec::zero();
        for (int p = 0; p < pixels; ++p) {
            const Vec value = Vec::load(y + p * y_stride + c);
            const Vec slope_here = where_positive(fma(value, scale_v, shift_v), one, slope_all);
            Vec gradient = Vec::load(fresh + p * fresh_stride + c);
            if (earlier) gradient = gradient + Vec::load(earlier + p * d_stride + c);
            gradient = gradient * slope_here;
            gradient.store(d + p * d_stride + c);
            sum_d = sum_d + gradient;
            sum_dx = fma(gradient, fma(value, spread_v, centre_v), sum_dx);
        }
        add_to(sums + c, sum_d);
        add_to(sums + channels + c, sum_dx);
    }
}

template <class Cell>
void store_gradient(const float* fresh, ptrdiff_t fresh_stride, const Cell* earlier, int pixels, int channels,
                    Cell* d, ptrdiff_t d_stride) {
    for (int p = 0; p < pixels; ++p) {
        for (int c = 0; c < channels; c += Vec::lanes) {
            Vec gradient = Vec::load(fresh + p * fresh_stride + c);
            if (earlier) gradient = gradient + Vec::load(earlier + p * d_stride + c);
            gradient.store(d + p * d_stride + c);
        }
    }
}

void add(const float* from, size_t count, float* to) {
    for (size_t i = 0; i < count; i += Vec::lanes) (Vec::load(to + i) + Vec::load(from + i)).store(to + i);
}

}  // namespace

extern const ConvKernels<float> conv_kernels = {fp32::packed_size,
                                                fp32::pack,
                                                fp32::pack_transposed,
                                                fp32::multiply,
                                                false,
                                                fp32::left_size,
                                                nullptr,
                                                fp32::right_size,
                                                nullptr,
                                                fp32::multiply_outer,
                                                norm_act<float>,
                                                store<float>,
                                                moments<float>,
                                                norm_backward<float>,
                                                act_backward<float>,
                                                store_gradient<float>,
                                                add};

#if defined(DIPEDGE_ISA_AVX512BF16)
extern const ConvKernels<bf16> conv_kernels_bf16 = {half::packed_size,
                                                    half::pack,
                                                    half::pack_transposed,
                                                    half::multiply,
                                                    true,
                                                    half::left_size,
                                                    half::turn_left,
                                                    half::right_size,
                                                    half::turn_right,
                                                    half::multiply_outer,
                                                    norm_act<bf16>,
                                                    store<bf16>,
                                                    moments<bf16>,
                                                    norm_backward<bf16>,
                                                    act_backward<bf16>,
                                                    store_gradient<bf16>,
                                                    add};
#endif

#if defined(DIPEDGE_ISA_AMX)
void configure_tiles() { half::configure_tiles(); }
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
