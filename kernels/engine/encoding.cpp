#include "engine/encoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "fourier_mlp/cpu.h"
#include "perturb/cpu.h"

namespace dipedge {
namespace {

// Noise is drawn for this many pixels at a time, so that a share is whole blocks of four values.
constexpr size_t noise_pixels = 64;

// Positions of the axis' pixels, moved by so many of them.
void place(FeatureTable& table, double shift) {
    table.positions.resize(table.count);
    for (int i = 0; i < table.count; ++i) {
        table.positions[i] = table.count > 1 ? (i + shift) / (table.count - 1) : 0.0;
    }
}

void fill_table(const std::vector<double>& frequencies, FeatureTable& table) {
    const size_t n = frequencies.size();
    for (int i = 0; i < table.count; ++i) {
        for (size_t k = 0; k < n; ++k) {
            const double angle = table.positions[i] * frequencies[k];
            table.values[i * 2 * n + k] = (float)std::cos(angle);
            table.values[i * 2 * n + n + k] = (float)std::sin(angle);
        }
    }
}

}  // namespace

template <class Cell>
Encoding<Cell>::Encoding(const EncodingSpec& spec, int height, int width, bool dense, bool want_gradient,
                         Arena& arena)
    : spec_(spec), source_(Geometry(height, width, spec.channels, channel_block<Cell>)) {
    columns_.count = width;
    rows_.count = height;
    for (FeatureTable* table : {&columns_, &rows_}) {
        table->values.resize(table->count * 2 * spec.frequencies.size());
        table->gradient.resize(table->values.size());
        place(*table, 0.0);
    }
    if (!dense) return;
    source_.values = arena.add_persistent(source_.size.cells());
    const bool noisy_input = spec.perturbation > 0 && !spec.perturb_frequencies;
    base_ = noisy_input ? arena.add_persistent(source_.size.cells()) : source_.values;
    if (want_gradient) source_.d = arena.add_persistent(source_.size.cells());
}

template <class Cell>
void Encoding<Cell>::set_values(const float* z) {
    const Geometry& size = source_.size;
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::memcpy(base_->data + pixel * size.padded, z + pixel * size.channels,
                    sizeof(float) * size.channels);
    }
    given_ = true;
}

template <class Cell>
void Encoding<Cell>::read(const Buffer* from, float* to) const {
    const Geometry& size = source_.size;
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::memcpy(to + pixel * size.channels, from->data + pixel * size.padded,
                    sizeof(float) * size.channels);
    }
}

template <class Cell>
void Encoding<Cell>::get_values(float* z) const {
    read(base_, z);
}

template <class Cell>
void Encoding<Cell>::get_gradient(float* dz) const {
    read(source_.d, dz);
}

template <class Cell>
void Encoding<Cell>::set_view(const View& view) {
    if (spec_.frequencies.empty()) throw std::invalid_argument("this input has no coordinates to move");
    if (view.a != 1 || view.b != 0 || view.d != 0 || view.e != 1) {
        throw std::invalid_argument("this view is more than a shift");
    }
    place(columns_, view.c);
    place(rows_, view.f);
    made_ = false;
}

template <class Cell>
void Encoding<Cell>::set_frequencies(const float* frequencies, float* gradient) {
    frequencies_ = frequencies;
    frequency_gradient_ = gradient;
}

template <class Cell>
void Encoding<Cell>::forward(const Context& context, uint64_t seed, uint64_t step, bool perturb) {
    const bool features = !spec_.frequencies.empty() && !given_;
    const bool moving = spec_.learned || (spec_.perturb_frequencies && spec_.perturbation > 0);
    if (features && (moving || !made_)) {
        make_tables(seed, step, perturb, context);
        if (dense()) fill_features(context);
        made_ = true;
    }
    for (FeatureTable* table : {&columns_, &rows_}) {
        std::fill(table->gradient.begin(), table->gradient.end(), 0.0);
    }
    if (base_ != source_.values) add_noise(context, seed, step, perturb ? spec_.perturbation : 0.0f);
}

template <class Cell>
void Encoding<Cell>::make_tables(uint64_t seed, uint64_t step, bool perturb, const Context& context) {
    std::vector<double> current = spec_.frequencies;
    if (frequencies_) current.assign(frequencies_, frequencies_ + current.size());
    if (perturb && spec_.perturb_frequencies && spec_.perturbation > 0) {
        std::vector<float> noise((current.size() + 3) / 4 * 4);
        context.kernels->perturb->normal(seed, step, 0, noise.size() / 4, noise.data());
        for (size_t k = 0; k < current.size(); ++k) current[k] += spec_.perturbation * noise[k];
    }
    fill_table(current, columns_);
    fill_table(current, rows_);
}

template <class Cell>
void Encoding<Cell>::fill_features(const Context& context) {
    const Geometry& size = source_.size;
    const size_t half = 2 * spec_.frequencies.size();
    context.pool->run(size.height, [&](int row, int) {
        float* to = base_->data + (size_t)row * size.width * size.padded;
        for (int x = 0; x < size.width; ++x, to += size.padded) {
            std::memcpy(to, columns_.values.data() + x * half, sizeof(float) * half);
            std::memcpy(to + half, rows_.values.data() + row * half, sizeof(float) * half);
        }
    });
}

template <class Cell>
void Encoding<Cell>::add_noise(const Context& context, uint64_t seed, uint64_t step, float sigma) {
    const Geometry& size = source_.size;
    const int shares = (int)((size.pixels() + noise_pixels - 1) / noise_pixels);
    const size_t values = noise_pixels * size.channels;
    context.pool->run((shares + 15) / 16, [&](int task, int worker) {
        float* noise = context.scratch_of(worker).template take<float>(values);
        for (int share = task * 16; share < std::min(shares, task * 16 + 16); ++share) {
            context.kernels->perturb->normal(seed, step, share * values / 4, values / 4, noise);
            const size_t first = share * noise_pixels, last = std::min(first + noise_pixels, size.pixels());
            for (size_t pixel = first; pixel < last; ++pixel) {
                context.kernels->perturb->add_noise(
                    base_->data + pixel * size.padded, noise + (pixel - first) * size.channels, sigma,
                    size.channels, source_.values->data + pixel * size.padded);
            }
        }
    });
}

// Column sums of dz are the gradient by the column features, row sums that by the row features.
template <class Cell>
void Encoding<Cell>::reduce_to_tables(const Context& context) {
    const Geometry& size = source_.size;
    const size_t half = 2 * spec_.frequencies.size();
    std::vector<float> column_sums((size_t)size.width * size.padded, 0.0f), row_sum(size.padded);
    for (int row = 0; row < size.height; ++row) {
        std::fill(row_sum.begin(), row_sum.end(), 0.0f);
        context.kernels->fp32.fourier->reduce_row(source_.d->data + (size_t)row * size.width * size.padded,
                                                  size.width, size.padded, column_sums.data(),
                                                  row_sum.data());
        std::copy_n(row_sum.data() + half, half, rows_.gradient.data() + row * half);
    }
    for (int x = 0; x < size.width; ++x) {
        std::copy_n(column_sums.data() + (size_t)x * size.padded, half, columns_.gradient.data() + x * half);
    }
}

// d cos(u f) / df = -u sin(u f), d sin(u f) / df = u cos(u f).
template <class Cell>
void Encoding<Cell>::backward(const Context& context) {
    if (!frequency_gradient_ || given_) return;
    if (dense()) reduce_to_tables(context);
    const size_t n = spec_.frequencies.size();
    for (size_t k = 0; k < n; ++k) {
        double sum = 0;
        for (const FeatureTable* table : {&columns_, &rows_}) {
            for (int i = 0; i < table->count; ++i) {
                const float* value = table->values.data() + i * 2 * n;
                const double* d = table->gradient.data() + i * 2 * n;
                sum += table->positions[i] * (d[n + k] * value[k] - d[k] * value[n + k]);
            }
        }
        frequency_gradient_[k] = (float)sum;
    }
}

template class Encoding<float>;
template class Encoding<bf16>;

}  // namespace dipedge
