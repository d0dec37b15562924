// Head, sigmoid, data term and their gradient: the CPU row kernels.
//
// With identity and mask terms the driver calls `head`, `residual`, `sigmoid_backward` and
// `head_backward` on one tile of pixels after the other, so the last layer's activations are read from
// memory once for forward and backward together and only the gradient is written: 2 passes over the
// full-resolution tensor where separate operators take 9.
#include "residual_loss/cpu.h"

#include <math.h>

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

constexpr int at_once = 4;  // outputs that share one read of the activations

template <int N>
void logits(const float* y, int channels, const float* scale, const float* shift, float slope,
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

void head(const float* y, int pixels, int channels, const float* scale, const float* shift, float slope,
          const float* weights, const float* bias, int outputs, bool sigmoid, float* out) {
    for (int p = 0; p < pixels; ++p, y += channels, out += outputs) {
        for (int o = 0; o < outputs; o += at_once) {
            const float* w = weights + (ptrdiff_t)o * channels;
            switch (outputs - o) {
                case 1: logits<1>(y, channels, scale, shift, slope, w, bias + o, out + o); break;
                case 2: logits<2>(y, channels, scale, shift, slope, w, bias + o, out + o); break;
                case 3: logits<3>(y, channels, scale, shift, slope, w, bias + o, out + o); break;
                default: logits<at_once>(y, channels, scale, shift, slope, w, bias + o, out + o);
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

// One vector of channels of one tile: all pixels, N outputs starting at the given one.
template <int N>
void head_backward_lanes(const float* y, const float* g, int pixels, int channels, Vec scale, Vec shift,
                         Vec slope, const float* weights, int outputs, float* d, float* dw, bool first) {
    Vec w[N], sum_w[N];
    for (int o = 0; o < N; ++o) {
        w[o] = Vec::load(weights + o * channels);
        sum_w[o] = Vec::load(dw + o * channels);
    }
    for (int p = 0; p < pixels; ++p, y += channels, d += channels, g += outputs) {
        const Vec active = leaky_relu(fma(Vec::load(y), scale, shift), slope);
        Vec gradient = first ? Vec::zero() : Vec::load(d);
        for (int o = 0; o < N; ++o) {
            const Vec g_o = Vec::set1(g[o]);
            gradient = fma(g_o, w[o], gradient);
            sum_w[o] = fma(g_o, active, sum_w[o]);
        }
        gradient.store(d);
    }
    for (int o = 0; o < N; ++o) sum_w[o].store(dw + o * channels);
}

void act_lanes(const float* y, int pixels, int channels, Vec scale, Vec shift, Vec slope, Vec spread,
               Vec centre, float* d, double* sum_d_to, double* sum_dx_to) {
    const Vec one = Vec::set1(1.0f);
    Vec sum_d = Vec::zero(), sum_dx = Vec::zero();
    for (int p = 0; p < pixels; ++p, y += channels, d += channels) {
        const Vec value = Vec::load(y);
        const Vec gradient = Vec::load(d) * where_positive(fma(value, scale, shift), one, slope);
        gradient.store(d);
        sum_d = sum_d + gradient;
        sum_dx = fma(gradient, fma(value, spread, centre), sum_dx);
    }
    add_to(sum_d_to, sum_d);
    add_to(sum_dx_to, sum_dx);
}

void head_backward(const float* y, const float* g, int pixels, int channels, const float* scale,
                   const float* shift, float slope, const float* weights, int outputs, const float* spread,
                   const float* centre, float* d, float* dw, float* dbias, double* sums) {
    const Vec slope_v = Vec::set1(slope);
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec scale_v = Vec::load(scale + c), shift_v = Vec::load(shift + c);
        for (int o = 0; o < outputs; o += at_once) {
            const float* w = weights + (ptrdiff_t)o * channels + c;
            float* to = dw + (ptrdiff_t)o * channels + c;
#define DIPEDGE_LANES(N)                                                                              \
    head_backward_lanes<N>(y + c, g + o, pixels, channels, scale_v, shift_v, slope_v, w, outputs, d + c, \
                           to, o == 0)
            switch (outputs - o) {
                case 1: DIPEDGE_LANES(1); break;
                case 2: DIPEDGE_LANES(2); break;
                case 3: DIPEDGE_LANES(3); break;
                default: DIPEDGE_LANES(at_once);
            }
#undef DIPEDGE_LANES
        }
        act_lanes(y + c, pixels, channels, scale_v, shift_v, slope_v, Vec::load(spread + c),
                  Vec::load(centre + c), d + c, sums + c, sums + channels + c);
    }
    for (int p = 0; p < pixels; ++p) {
        for (int o = 0; o < outputs; ++o) dbias[o] += g[p * outputs + o];
    }
}

void average(const float* out, float weight, size_t count, float* average) {
    const float rest = 1.0f - weight;
    for (size_t i = 0; i < count; ++i) average[i] = average[i] * weight + out[i] * rest;
}

}  // namespace

extern const TailKernels tail_kernels = {head, residual, sigmoid_backward, head_backward, average};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
