// Row kernels of the network's tail: head, sigmoid, data term, their gradient, and the running average.
// The contract is this folder's __init__.py; kernels/engine/tail_op.cpp drives these.
//
// Outputs, targets and gradients are [pixels, outputs] without padding (1 to 4 outputs as a rule);
// activations are cells (float or bf16), channels padded, as everywhere.
#pragma once

#include <stddef.h>

#include "simd/isa.h"

namespace dipedge {

template <class Cell>
struct TailKernels {
    // out = sigmoid(act(y) * W^T + bias), act = LeakyReLU(y * scale + shift), W [outputs, channels].
    void (*head)(const Cell* y, int pixels, int channels, const float* scale, const float* shift, float slope,
                 const float* weights, const float* bias, int outputs, bool sigmoid, float* out);

    // gradient = factor * m * m * (out - target), m = mask per pixel (null: 1); returns
    // sum of (m * (out - target))^2.
    double (*residual)(const float* out, const float* target, const float* mask, int pixels, int outputs,
                       float factor, float* gradient);

    // gradient *= out * (1 - out), over `count` floats.
    void (*sigmoid_backward)(const float* out, size_t count, float* gradient);

    // From gradient g [pixels, outputs] by the logits, with d = LeakyReLU'(.) * (g * W):
    // dw [outputs, channels] += g^T * act(y); dbias += sum of g; sums[0..channels) += d,
    // sums[channels..) += d * (y * spread + centre). d itself is not kept: see head_gradient.
    void (*head_backward)(const Cell* y, const float* g, int pixels, int channels, const float* scale,
                          const float* shift, float slope, const float* weights, int outputs,
                          const float* spread, const float* centre, float* dw, float* dbias, double* sums);

    // to = a * d + b * y + c, the gradient by y through the batch norm, with d as above.
    void (*head_gradient)(const Cell* y, const float* g, int pixels, int channels, const float* scale,
                          const float* shift, float slope, const float* weights, int outputs, const float* a,
                          const float* b, const float* c, Cell* to);

    // average = average * weight + out * (1 - weight), over `count` floats.
    void (*average)(const float* out, float weight, size_t count, float* average);
};

#define DIPEDGE_DECLARE_TAIL(ns)                  \
    namespace ns {                                \
    extern const TailKernels<float> tail_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_TAIL)

#define DIPEDGE_DECLARE_TAIL_BF16(ns)                 \
    namespace ns {                                    \
    extern const TailKernels<bf16> tail_kernels_bf16; \
    }
DIPEDGE_FOR_EACH_BF16_ISA(DIPEDGE_DECLARE_TAIL_BF16)

}  // namespace dipedge
