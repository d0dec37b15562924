// Separable Lanczos decimation with replication padding: the CPU row kernels.
//
// Rows first (they are added as flat arrays, whatever the channel count), then columns on the t times
// fewer rows: 16 + 16 taps at x4 in place of the published 16 x 16, and one channel at a time in place
// of a dense channel matrix with a diagonal of weights. At 512x512x3 it is under 1 % of a step.
#include "lanczos_conv/cpu.h"

#include <string.h>

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

void add_scaled(float weight, const float* from, size_t count, float* to) {
    const Vec weight_v = Vec::set1(weight);
    size_t i = 0;
    for (; i + Vec::lanes <= count; i += Vec::lanes) {
        fma(weight_v, Vec::load(from + i), Vec::load(to + i)).store(to + i);
    }
    for (; i < count; ++i) to[i] += weight * from[i];
}

static inline int clamp(int index, int last) { return index < 0 ? 0 : (index > last ? last : index); }

void decimate_row(const float* from, int width, int channels, const float* weights, int taps, int step,
                  int pad, int out_width, float* to) {
    memset(to, 0, sizeof(float) * out_width * channels);
    for (int x = 0; x < out_width; ++x, to += channels) {
        for (int k = 0; k < taps; ++k) {
            const float* pixel = from + (ptrdiff_t)clamp(x * step - pad + k, width - 1) * channels;
            for (int c = 0; c < channels; ++c) to[c] += weights[k] * pixel[c];
        }
    }
}

void spread_row(const float* from, int width, int channels, const float* weights, int taps, int step, int pad,
                int out_width, float* to) {
    memset(to, 0, sizeof(float) * width * channels);
    for (int x = 0; x < out_width; ++x, from += channels) {
        for (int k = 0; k < taps; ++k) {
            float* pixel = to + (ptrdiff_t)clamp(x * step - pad + k, width - 1) * channels;
            for (int c = 0; c < channels; ++c) pixel[c] += weights[k] * from[c];
        }
    }
}

}  // namespace

extern const LanczosKernels lanczos_kernels = {add_scaled, decimate_row, spread_row};

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
