#include "engine/encoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "conv_norm_act/cpu.h"
#include "fourier_mlp/cpu.h"
#include "perturb/cpu.h"

namespace dipedge {
namespace {

// Noise is drawn for this many pixels at a time, so that a share is whole blocks of four values.
constexpr size_t noise_pixels = 64;

double coordinate(int index, int count) { return count > 1 ? (double)index / (count - 1) : 0.0; }

void fill_table(const std::vector<double>& frequencies, int count, std::vector<float>& table) {
    const size_t n = frequencies.size();
    table.resize((size_t)count * 2 * n);
    for (int i = 0; i < count; ++i) {
        for (size_t k = 0; k < n; ++k) {
            const double angle = coordinate(i, count) * frequencies[k];
            table[i * 2 * n + k] = (float)std::cos(angle);
            table[i * 2 * n + n + k] = (float)std::sin(angle);
        }
    }
}

}  // namespace

Encoding::Encoding(const EncodingSpec& spec, int height, int width, bool want_gradient, Arena& arena)
    : spec_(spec), source_(Geometry(height, width, spec.channels)) {
    source_.values = arena.add_persistent(source_.size.floats());
    const bool noisy_input = spec.perturbation > 0 && !spec.perturb_frequencies;
    base_ = noisy_input ? arena.add_persistent(source_.size.floats()) : source_.values;
    if (want_gradient) source_.d = arena.add_persistent(source_.size.floats());
}

void Encoding::set_values(const float* z) {
    const Geometry& size = source_.size;
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::memcpy(base_->data + pixel * size.padded, z + pixel * size.channels,
                    sizeof(float) * size.channels);
    }
    given_ = true;
}

void Encoding::get_values(float* z) const {
    const Geometry& size = source_.size;
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::memcpy(z + pixel * size.channels, base_->data + pixel * size.padded,
                    sizeof(float) * size.channels);
    }
}

void Encoding::set_frequencies(const float* frequencies, float* gradient) {
    frequencies_ = frequencies;
    frequency_gradient_ = gradient;
}

void Encoding::forward(const Context& context, uint64_t seed, uint64_t step, bool perturb) {
    const bool features = !spec_.frequencies.empty() && !given_;
    const bool moving = spec_.learned || (spec_.perturb_frequencies && spec_.perturbation > 0);
    if (features && (moving || !filled_)) {
        make_tables(seed, step, perturb, context);
        fill_features(context);
        filled_ = true;
    }
    if (base_ != source_.values) add_noise(context, seed, step, perturb ? spec_.perturbation : 0.0f);
}

void Encoding::make_tables(uint64_t seed, uint64_t step, bool perturb, const Context& context) {
    const int n = (int)spec_.frequencies.size();
    current_ = spec_.frequencies;
    if (frequencies_) current_.assign(frequencies_, frequencies_ + n);
    if (perturb && spec_.perturb_frequencies && spec_.perturbation > 0) {
        std::vector<float> noise((n + 3) / 4 * 4);
        context.kernels->perturb->normal(seed, step, 0, noise.size() / 4, noise.data());
        for (int k = 0; k < n; ++k) current_[k] += spec_.perturbation * noise[k];
    }
    fill_table(current_, source_.size.width, column_table_);
    fill_table(current_, source_.size.height, row_table_);
}

void Encoding::fill_features(const Context& context) {
    const Geometry& size = source_.size;
    const size_t half = 2 * spec_.frequencies.size();
    context.pool->run(size.height, [&](int row, int) {
        float* to = base_->data + (size_t)row * size.width * size.padded;
        for (int x = 0; x < size.width; ++x, to += size.padded) {
            std::memcpy(to, column_table_.data() + x * half, sizeof(float) * half);
            std::memcpy(to + half, row_table_.data() + row * half, sizeof(float) * half);
        }
    });
}

void Encoding::add_noise(const Context& context, uint64_t seed, uint64_t step, float sigma) {
    const Geometry& size = source_.size;
    const int shares = (int)((size.pixels() + noise_pixels - 1) / noise_pixels);
    const size_t values = noise_pixels * size.channels;
    context.pool->run((shares + 15) / 16, [&](int task, int worker) {
        float* noise = context.scratch_of(worker);
        for (int share = task * 16; share < std::min(shares, task * 16 + 16); ++share) {
            context.kernels->perturb->normal(seed, step, share * values / 4, values / 4, noise);
            const size_t first = share * noise_pixels, last = std::min(first + noise_pixels, size.pixels());
            for (size_t pixel = first; pixel < last; ++pixel) {
                context.kernels->perturb->add_noise(
                    base_->data + pixel * size.padded, noise + (pixel - first) * size.channels,
                    sigma, size.channels, source_.values->data + pixel * size.padded);
            }
        }
    });
}

// With dz known, column sums give the gradient by the column features, row sums that by the row
// features; then d cos(u f) / df = -u sin(u f), d sin(u f) / df = u cos(u f).
void Encoding::backward(const Context& context) {
    if (!frequency_gradient_ || given_) return;
    const Geometry& size = source_.size;
    const int n = (int)spec_.frequencies.size();
    std::vector<float> columns((size_t)size.width * size.padded, 0.0f);
    std::vector<double> gradient(n, 0.0);
    const auto add = [&](const float* d, const float* table, double at) {
        for (int k = 0; k < n; ++k) {
            gradient[k] += at * ((double)d[n + k] * table[k] - (double)d[k] * table[n + k]);
        }
    };
    std::vector<float> row_sum(size.padded);
    for (int row = 0; row < size.height; ++row) {
        std::fill(row_sum.begin(), row_sum.end(), 0.0f);
        context.kernels->fourier->reduce_row(source_.d->data + (size_t)row * size.width * size.padded,
                                             size.width, size.padded, columns.data(), row_sum.data());
        add(row_sum.data() + 2 * n, row_table_.data() + (size_t)row * 2 * n, coordinate(row, size.height));
    }
    for (int x = 0; x < size.width; ++x) {
        add(columns.data() + (size_t)x * size.padded, column_table_.data() + (size_t)x * 2 * n,
            coordinate(x, size.width));
    }
    for (int k = 0; k < n; ++k) frequency_gradient_[k] = (float)gradient[k];
}

}  // namespace dipedge
