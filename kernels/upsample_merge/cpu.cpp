// Upsampling x2, concatenation and its batch norm: the CPU row kernels.
//
// The upsampled picture is never stored. Its consumer packs rows of it on the fly: `blend_act` makes
// one row between two rows of the lower level (normalised, activated, and already through the affine
// map of the merge's batch norm, which commutes with an interpolation whose weights add up to 1), and
// `widen` spreads its columns. Going through the low-resolution row first means every activation is
// computed twice (once per neighbouring output row) and not eight times. The adjoint gathers, so no two
// threads add to one place.
#include "upsample_merge/cpu.h"

#include "simd/vec.h"

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {
namespace {

template <class Cell>
void blend_act(const Cell* above, const Cell* below, float weight, int pixels, int channels,
               const float* scale, const float* shift, float slope, const float* out_scale,
               const float* out_shift, float* to, ptrdiff_t to_stride) {
    const Vec slope_v = Vec::set1(slope), lower = Vec::set1(weight), upper = Vec::set1(1.0f - weight);
    for (int p = 0; p < pixels; ++p, above += channels, below += channels, to += to_stride) {
        for (int c = 0; c < channels; c += Vec::lanes) {
            const Vec scale_v = Vec::load(scale + c), shift_v = Vec::load(shift + c);
            Vec mixed = leaky_relu(fma(Vec::load(above + c), scale_v, shift_v), slope_v);
            if (weight != 0.0f) {
                const Vec second = leaky_relu(fma(Vec::load(below + c), scale_v, shift_v), slope_v);
                mixed = fma(lower, second, upper * mixed);
            }
            fma(mixed, Vec::load(out_scale + c), Vec::load(out_shift + c)).store(to + c);
        }
    }
}

static inline int clamp(int index, int last) { return index < 0 ? 0 : (index > last ? last : index); }

template <class Cell>
void widen(const float* from, int first, int width, bool bilinear, int begin, int end, const int* positions,
           int channels, Cell* to, ptrdiff_t to_stride) {
    const Vec near_weight = Vec::set1(0.75f), far_weight = Vec::set1(0.25f);
    for (int p = begin; p < end; ++p, to += to_stride) {
        const int x = positions ? positions[p] : p;
        const int j = x / 2;
        const float* near = from + (ptrdiff_t)(j - first) * channels;
        if (!bilinear) {
            for (int c = 0; c < channels; c += Vec::lanes) Vec::load(near + c).store(to + c);
            continue;
        }
        const int other = clamp(x % 2 ? j + 1 : j - 1, width - 1);
        const float* far = from + (ptrdiff_t)(other - first) * channels;
        for (int c = 0; c < channels; c += Vec::lanes) {
            fma(near_weight, Vec::load(near + c), far_weight * Vec::load(far + c)).store(to + c);
        }
    }
}

void narrow(const float* from, int first, int columns, int width, bool bilinear, int begin, int end,
            int channels, float* to) {
    const Vec near_weight = Vec::set1(0.75f), far_weight = Vec::set1(0.25f);
    const int last = 2 * width - 1;
    const auto pixel = [&](int x) { return from + (ptrdiff_t)(x - first) * channels; };
    for (int j = begin; j < end; ++j, to += channels) {
        // A clamped neighbour is the border column itself; one beyond the crop does not exist.
        const int right_column = clamp(2 * j + 2, last);
        const bool has_second = 2 * j + 1 < columns, has_right = right_column < columns;
        const float* left = pixel(clamp(2 * j - 1, last));
        for (int c = 0; c < channels; c += Vec::lanes) {
            Vec near = Vec::load(pixel(2 * j) + c);
            if (has_second) near = near + Vec::load(pixel(2 * j + 1) + c);
            if (bilinear) {
                Vec far = Vec::load(left + c);
                if (has_right) far = far + Vec::load(pixel(right_column) + c);
                near = fma(near_weight, near, far_weight * far);
            }
            near.store(to + c);
        }
    }
}

void narrow_sampled(const float* from, int first, const int* positions, int width, bool bilinear, int begin,
                    int end, int channels, float* to) {
    // The share of column p that column j of the lower level has in it.
    const auto share = [&](int p, int j) {
        if (p < 0 || p >= width) return 0.0f;
        const int other = clamp(positions[p] % 2 ? p + 1 : p - 1, width - 1);
        if (!bilinear || other == p) return p == j ? 1.0f : 0.0f;
        return p == j ? 0.75f : (other == j ? 0.25f : 0.0f);
    };
    for (int j = begin; j < end; ++j, to += channels) {
        const float left = share(j - 1, j), right = share(j + 1, j);
        const float* near = from + (ptrdiff_t)(j - first) * channels;
        const Vec near_share = Vec::set1(share(j, j)), left_share = Vec::set1(left),
                  right_share = Vec::set1(right);
        for (int c = 0; c < channels; c += Vec::lanes) {
            Vec sum = near_share * Vec::load(near + c);
            if (left != 0.0f) sum = fma(left_share, Vec::load(near - channels + c), sum);
            if (right != 0.0f) sum = fma(right_share, Vec::load(near + channels + c), sum);
            sum.store(to + c);
        }
    }
}

static inline Vec load_or_zero(const float* row, size_t i) { return row ? Vec::load(row + i) : Vec::zero(); }

void weigh_rows(const float* const* rows, const float* weights, size_t count, float* to) {
    const Vec first = Vec::set1(weights[0]), second = Vec::set1(weights[1]), third = Vec::set1(weights[2]);
    for (size_t i = 0; i < count; i += Vec::lanes) {
        const Vec sum = fma(first, load_or_zero(rows[0], i), second * load_or_zero(rows[1], i));
        fma(third, load_or_zero(rows[2], i), sum).store(to + i);
    }
}

void gather_rows(const float* a, const float* b, const float* c, const float* d, size_t count, float* to) {
    const Vec near_weight = Vec::set1(0.75f), far_weight = Vec::set1(0.25f);
    for (size_t i = 0; i < count; i += Vec::lanes) {
        const Vec near = load_or_zero(b, i) + load_or_zero(c, i);
        const Vec far = load_or_zero(a, i) + load_or_zero(d, i);
        fma(near_weight, near, far_weight * far).store(to + i);
    }
}

void add_rows(const float* b, const float* c, size_t count, float* to) {
    for (size_t i = 0; i < count; i += Vec::lanes) {
        (load_or_zero(b, i) + load_or_zero(c, i)).store(to + i);
    }
}

template <class Cell>
void norm_backward(const Cell* d, ptrdiff_t d_stride, const float* x, ptrdiff_t x_stride, int pixels,
                   int channels, const float* a, const float* b, const float* c, float* to,
                   ptrdiff_t to_stride) {
    for (int p = 0; p < pixels; ++p, d += d_stride, x += x_stride, to += to_stride) {
        for (int i = 0; i < channels; i += Vec::lanes) {
            const Vec from_x = fma(Vec::load(x + i), Vec::load(b + i), Vec::load(c + i));
            fma(Vec::load(d + i), Vec::load(a + i), from_x).store(to + i);
        }
    }
}

template <class Cell>
void norm_sums(const Cell* d, ptrdiff_t d_stride, const float* x, ptrdiff_t x_stride, int pixels,
               int channels, const float* spread, const float* centre, double* sums) {
    for (int c = 0; c < channels; c += Vec::lanes) {
        const Vec spread_v = Vec::load(spread + c), centre_v = Vec::load(centre + c);
        Vec sum_d = Vec::zero(), sum_dx = Vec::zero();
        for (int p = 0; p < pixels; ++p) {
            const Vec gradient = Vec::load(d + p * d_stride + c);
            sum_d = sum_d + gradient;
            sum_dx = fma(gradient, fma(Vec::load(x + p * x_stride + c), spread_v, centre_v), sum_dx);
        }
        add_to(sums + c, sum_d);
        add_to(sums + channels + c, sum_dx);
    }
}

}  // namespace

extern const MergeKernels<float> merge_kernels = {
    blend_act<float>, widen<float>, widen<float>,         narrow,          narrow_sampled, weigh_rows,
    gather_rows,      add_rows,     norm_backward<float>, norm_sums<float>};

#if defined(DIPEDGE_ISA_AVX512BF16)
extern const MergeKernels<bf16> merge_kernels_bf16 = {
    blend_act<bf16>, widen<float>, widen<bf16>,         narrow,         narrow_sampled, weigh_rows,
    gather_rows,     add_rows,     norm_backward<bf16>, norm_sums<bf16>};
#endif

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
