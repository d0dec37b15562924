// Separable decimation with replicated borders: the CPU row kernels.
//
// Alone (the data term, 3 channels): rows first (they are added as flat arrays, whatever the channel count),
// then columns on the t times fewer rows: 16 + 16 taps at x4 in place of the published 16 x 16, and one
// channel at a time in place of a dense channel matrix with a diagonal of weights. At 512x512x3 it is under
// 1 % of a step.
//
// With a convolution (a network's downsampling, channels padded) the input is filtered and a quarter of the
// pixels multiplied; the algebra and the numbers are in this folder's __init__.py. All three kernels are
// weighted sums of vectors that lie anywhere, eight sums in registers: one load and one multiply-add per
// term, so they run at the rate of loads from L1 (two a cycle) as long as their rows are there. A window of
// 8 pixels is used by 8 neighbours and stays; the 8 to 12 rows of `sum_rows` come from L2, bfloat16 at half
// the bytes. Samples of a bf16 forward pass, k = 3: filter 26 %, products 17 %, normalise and activate 14 %.
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

// Weighted sums of vectors that lie anywhere: `at(n)` is the address of number n of `count`, `weight(n)`
// its factor. `vectors` sums at a time hide the latency of the multiply-adds behind each other.
template <int vectors, class To, class At, class Weight>
inline void weighted_sum(int count, To* to, const At& at, const Weight& weight) {
    Vec sum[vectors];
    for (int v = 0; v < vectors; ++v) sum[v] = Vec::zero();
    for (int n = 0; n < count; ++n) {
        const auto* from = at(n);
        const Vec factor = Vec::set1(weight(n));
        for (int v = 0; v < vectors; ++v) sum[v] = fma(factor, Vec::load(from + v * Vec::lanes), sum[v]);
    }
    for (int v = 0; v < vectors; ++v) sum[v].store(to + v * Vec::lanes);
}

// The same for `cells` values in a row, a multiple of the lanes.
template <class To, class At, class Weight>
inline void weighted_sums(int count, size_t cells, To* to, const At& at, const Weight& weight) {
    constexpr int block = 8;
    size_t i = 0;
    for (; i + block * Vec::lanes <= cells; i += block * Vec::lanes) {
        weighted_sum<block>(count, to + i, [&](int n) { return at(n) + i; }, weight);
    }
    for (; i < cells; i += Vec::lanes) {
        weighted_sum<1>(count, to + i, [&](int n) { return at(n) + i; }, weight);
    }
}

template <class Cell>
void sum_rows(const Cell* const* rows, const float* weights, int count, size_t cells, float* to) {
    weighted_sums(count, cells, to, [&](int n) { return rows[n]; }, [&](int n) { return weights[n]; });
}

template <class Cell>
void slide(const float* from, const float* weights, int window, int pixels, int channels, Cell* to) {
    for (int p = 0; p < pixels; ++p, from += channels, to += channels) {
        weighted_sums(
            window, channels, to, [&](int q) { return from + (ptrdiff_t)q * channels; },
            [&](int q) { return weights[q]; });
    }
}

void gather(const float* from, const int* begin, const int* places, const float* weights, int pixels,
            int channels, float* to) {
    for (int p = 0; p < pixels; ++p, to += channels) {
        const int* place = places + begin[p];
        const float* weight = weights + begin[p];
        weighted_sums(
            begin[p + 1] - begin[p], channels, to,
            [&](int n) { return from + (ptrdiff_t)place[n] * channels; }, [&](int n) { return weight[n]; });
    }
}

}  // namespace

extern const LanczosKernels lanczos_kernels = {add_scaled, decimate_row, spread_row};
extern const FilterKernels<float> filter_kernels = {sum_rows<float>, slide<float>, gather};
#if defined(DIPEDGE_ISA_AVX512BF16)
extern const FilterKernels<bf16> filter_kernels_bf16 = {sum_rows<bf16>, slide<bf16>, gather};
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
