// Head, sigmoid, data term and their gradient: the CPU row kernels.
//
// With identity and mask terms the driver calls `head`, `residual`, `sigmoid_backward` and
// `head_backward` on one tile of pixels after the other, so the last layer's activations are read from
// memory once for forward and backward together. The gradient by those activations has 128 channels but
// follows from 3 numbers a pixel, so it is never stored: `head_gradient` makes it again where the layer
// below needs it, 3 multiply-adds a value instead of a write and a read of 134 MB at 512x512.
#include "residual_loss/cpu.h"

#include <math.h>

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

constexpr int at_once = 4;  // outputs that share one read of the activations

template <int N, class Cell>
void logits(const Cell* y, int channels, const float* scale, const float* shift, float slope,
            const float* weights, const float* bias, float* out) {
    const Vec slope_v = Vec::set1(slope);
    Vec total[N];
    for (int o = 0; o < N; ++o) total[o] = Vec::zero();
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec active =
            leaky_relu(fma(Vec::load(y + c), Vec::load(scale + c), Vec::load(shift + c)), slope_v);
        for (int o = 0; o < N; ++o) total[o] = fma(active, Vec::load(weights + o * channels + c), total[o]);
    }
    for (int o = 0; o < N; ++o) out[o] = sum(total[o]) + bias[o];
}

template <class Cell>
void head(const Cell* y, int pixels, int channels, const float* scale, const float* shift, float slope,
          const float* weights, const float* bias, int outputs, bool sigmoid, float* out) {
    for (int p = 0; p < pixels; ++p, y += channels, out += outputs) {
        for (int o = 0; o < outputs; o += at_once) {
            const float* w = weights + (ptrdiff_t)o * channels;
            switch (outputs - o) {
                case 1:
                    logits<1>(y, channels, scale, shift, slope, w, bias + o, out + o);
                    break;
                case 2:
                    logits<2>(y, channels, scale, shift, slope, w, bias + o, out + o);
                    break;
                case 3:
                    logits<3>(y, channels, scale, shift, slope, w, bias + o, out + o);
                    break;
                default:
                    logits<at_once>(y, channels, scale, shift, slope, w, bias + o, out + o);
            }
        }
        for (int o = 0; sigmoid && o < outputs; ++o) out[o] = 1.0f / (1.0f + expf(-out[o]));
    }
}

double residual(const float* out, const float* target, const float* mask, int pixels, int outputs,
                float factor, float* gradient) {
    double loss = 0;
    for (int p = 0; p < pixels; ++p) {
        const float m = mask ? mask[p] : 1.0f;
        for (int o = 0; o < outputs; ++o) {
            const float difference = m * (out[p * outputs + o] - target[p * outputs + o]);
            gradient[p * outputs + o] = factor * m * difference;
            loss += (double)difference * difference;
        }
    }
    return loss;
}

void sigmoid_backward(const float* out, size_t count, float* gradient) {
    for (size_t i = 0; i < count; ++i) gradient[i] *= out[i] * (1.0f - out[i]);
}

// One vector of channels over all pixels of a tile; N outputs, their weights in registers.
template <int N, class Cell>
void backward_lanes(const Cell* y, const float* g, int pixels, int channels, Vec scale, Vec shift, Vec slope,
                    const float* weights, Vec spread, Vec centre, float* dw, double* sums) {
    const Vec one = Vec::set1(1.0f);
    Vec w[N], sum_w[N], sum_d = Vec::zero(), sum_dx = Vec::zero();
    for (int o = 0; o < N; ++o) {
        w[o] = Vec::load(weights + o * channels);
        sum_w[o] = Vec::load(dw + o * channels);
    }
    for (int p = 0; p < pixels; ++p, y += channels, g += N) {
        const Vec value = Vec::load(y), normal = fma(value, scale, shift);
        const Vec active = leaky_relu(normal, slope);
        Vec d = Vec::zero();
        for (int o = 0; o < N; ++o) {
            const Vec g_o = Vec::set1(g[o]);
            d = fma(g_o, w[o], d);
            sum_w[o] = fma(g_o, active, sum_w[o]);
        }
        d = d * where_positive(normal, one, slope);
        sum_d = sum_d + d;
        sum_dx = fma(d, fma(value, spread, centre), sum_dx);
    }
    for (int o = 0; o < N; ++o) sum_w[o].store(dw + o * channels);
    add_to(sums, sum_d);
    add_to(sums + channels, sum_dx);
}

// Any number of outputs: weights and their gradients go through memory.
template <class Cell>
void backward_lanes_any(const Cell* y, const float* g, int pixels, int channels, Vec scale, Vec shift,
                        Vec slope, const float* weights, int outputs, Vec spread, Vec centre, float* dw,
                        double* sums) {
    const Vec one = Vec::set1(1.0f);
    Vec sum_d = Vec::zero(), sum_dx = Vec::zero();
    for (int p = 0; p < pixels; ++p, y += channels, g += outputs) {
        const Vec value = Vec::load(y), normal = fma(value, scale, shift);
        const Vec active = leaky_relu(normal, slope);
        Vec d = Vec::zero();
        for (int o = 0; o < outputs; ++o) {
            const Vec g_o = Vec::set1(g[o]);
            d = fma(g_o, Vec::load(weights + o * channels), d);
            fma(g_o, active, Vec::load(dw + o * channels)).store(dw + o * channels);
        }
        d = d * where_positive(normal, one, slope);
        sum_d = sum_d + d;
        sum_dx = fma(d, fma(value, spread, centre), sum_dx);
    }
    add_to(sums, sum_d);
    add_to(sums + channels, sum_dx);
}

template <class Cell>
void head_backward(const Cell* y, const float* g, int pixels, int channels, const float* scale,
                   const float* shift, float slope, const float* weights, int outputs, const float* spread,
                   const float* centre, float* dw, float* dbias, double* sums) {
    const Vec slope_v = Vec::set1(slope);
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec scale_v = Vec::load(scale + c), shift_v = Vec::load(shift + c);
        const Vec spread_v = Vec::load(spread + c), centre_v = Vec::load(centre + c);
#define DIPEDGE_LANES(N)                                                                            \
    backward_lanes<N>(y + c, g, pixels, channels, scale_v, shift_v, slope_v, weights + c, spread_v, \
                      centre_v, dw + c, sums + c)
        switch (outputs) {
            case 1:
                DIPEDGE_LANES(1);
                break;
            case 2:
                DIPEDGE_LANES(2);
                break;
            case 3:
                DIPEDGE_LANES(3);
                break;
            case 4:
                DIPEDGE_LANES(4);
                break;
            default:
                backward_lanes_any(y + c, g, pixels, channels, scale_v, shift_v, slope_v, weights + c,
                                   outputs, spread_v, centre_v, dw + c, sums + c);
        }
#undef DIPEDGE_LANES
    }
    for (int p = 0; p < pixels; ++p) {
        for (int o = 0; o < outputs; ++o) dbias[o] += g[p * outputs + o];
    }
}

template <class Cell>
void head_gradient(const Cell* y, const float* g, int pixels, int channels, const float* scale,
                   const float* shift, float slope, const float* weights, int outputs, const float* a,
                   const float* b, const float* c, Cell* to) {
    const Vec slope_v = Vec::set1(slope), one = Vec::set1(1.0f);
    for (int p = 0; p < pixels; ++p, y += channels, g += outputs, to += channels) {
        for (int i = 0; i < channels; i += Vec::lanes) {
            const Vec value = Vec::load(y + i);
            Vec d = Vec::set1(g[0]) * Vec::load(weights + i);
            for (int o = 1; o < outputs; ++o) {
                d = fma(Vec::set1(g[o]), Vec::load(weights + o * channels + i), d);
            }
            d = d * where_positive(fma(value, Vec::load(scale + i), Vec::load(shift + i)), one, slope_v);
            fma(d, Vec::load(a + i), fma(value, Vec::load(b + i), Vec::load(c + i))).store(to + i);
        }
    }
}

void average(const float* out, float weight, size_t count, float* average) {
    const float rest = 1.0f - weight;
    for (size_t i = 0; i < count; ++i) average[i] = average[i] * weight + out[i] * rest;
}

}  // namespace

extern const TailKernels<float> tail_kernels = {
    head<float>, residual, sigmoid_backward, head_backward<float>, head_gradient<float>, average};

#if defined(DIPEDGE_ISA_AVX512BF16)
extern const TailKernels<bf16> tail_kernels_bf16 = {
    head<bf16>, residual, sigmoid_backward, head_backward<bf16>, head_gradient<bf16>, average};
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
