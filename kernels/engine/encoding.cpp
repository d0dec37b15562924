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

// Cosines of a place under all frequencies, then sines.
template <class Real>
void write_waves(double place, const std::vector<double>& frequencies, Real* to) {
    const size_t n = frequencies.size();
    for (size_t k = 0; k < n; ++k) {
        const double angle = place * frequencies[k];
        to[k] = (Real)std::cos(angle);
        to[n + k] = (Real)std::sin(angle);
    }
}

void fill_table(const std::vector<double>& frequencies, const std::vector<double>& times,
                FeatureTable& table) {
    for (int i = 0; i < table.count; ++i) {
        float* entry = table.values.data() + (size_t)i * table.width;
        write_waves(table.positions[i], frequencies, entry);
        if (!table.times.empty()) write_waves(table.times[i], times, entry + 2 * frequencies.size());
    }
}

// Waves of the sum of two places from those of each: cos(a + b), then sin(a + b).
void add_places(const double* a, const double* b, size_t n, float* to) {
    for (size_t k = 0; k < n; ++k) {
        to[k] = (float)(a[k] * b[k] - a[n + k] * b[n + k]);
        to[n + k] = (float)(a[n + k] * b[k] + a[k] * b[n + k]);
    }
}

bool is_shift(const View& view) { return view.a == 1 && view.b == 0 && view.d == 0 && view.e == 1; }

}  // namespace

template <class Cell>
Encoding<Cell>::Encoding(const EncodingSpec& spec, int height, int width, bool dense, bool want_gradient,
                         Arena& arena)
    : spec_(spec), source_(Geometry(height, width, spec.channels, channel_block<Cell>)) {
    source_.size.frames = spec.frames;
    const int waves = 2 * (int)spec.frequencies.size(), in_time = 2 * (int)spec.times.size();
    const auto resize = [](FeatureTable& table, int count, int width) {
        table.count = count, table.width = width;
        table.positions.resize(count);
        table.values.resize((size_t)count * width);
        table.gradient.resize(table.values.size());
    };
    resize(columns_, spec.frames * width, waves);
    resize(rows_, height, waves + in_time);
    if (in_time) rows_.times.resize(height);
    if (spec.warped) {
        for (Waves* of : {&u_of_columns_, &v_of_columns_, &u_of_rows_, &v_of_rows_}) {
            of->positions.resize(of == &u_of_columns_ || of == &v_of_columns_ ? columns_.count : height);
            of->values.resize(of->positions.size() * waves);
        }
        row_gradients_.resize((size_t)height * spec.frequencies.size());
    }
    place(std::vector<View>(spec.frames));
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
void Encoding<Cell>::set_views(const std::vector<View>& views) {
    if (spec_.frequencies.empty()) throw std::invalid_argument("this input has no coordinates to move");
    if (views.size() != (size_t)spec_.frames) {
        throw std::invalid_argument("there must be one view for each frame");
    }
    if (!spec_.warped && !std::all_of(views.begin(), views.end(), is_shift)) {
        throw std::invalid_argument("this view is more than a shift");
    }
    place(views);
    made_ = false;
}

// Without a turn a pixel's u is its column's alone, and its v its row's.
template <class Cell>
void Encoding<Cell>::place(const std::vector<View>& views) {
    warps_ = !std::all_of(views.begin(), views.end(), is_shift);
    const int width = source_.size.width, height = source_.size.frame_height();
    // A side of one pixel stands at 0 wherever it lies.
    const auto share = [](double at, int count) { return count > 1 ? at / (count - 1) : 0.0; };
    for (int frame = 0; frame < spec_.frames; ++frame) {
        const View& view = views[frame];
        for (int x = 0, i = frame * width; x < width; ++x, ++i) {
            columns_.positions[i] = share(view.a * x + view.c, width);
            if (!warps_) continue;
            u_of_columns_.positions[i] = columns_.positions[i];
            v_of_columns_.positions[i] = share(view.d * x, height);
        }
        for (int y = 0, i = frame * height; y < height; ++y, ++i) {
            rows_.positions[i] = share(view.e * y + view.f, height);
            if (!rows_.times.empty()) rows_.times[i] = view.time;
            if (!warps_) continue;
            u_of_rows_.positions[i] = share(view.b * y, width);
            v_of_rows_.positions[i] = rows_.positions[i];
        }
    }
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
        if (dense() && warps_) fill_warped(context);
        if (dense() && !warps_) fill_features(context);
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
    fill_table(current, spec_.times, columns_);
    fill_table(current, spec_.times, rows_);
    if (!warps_) return;
    for (Waves* of : {&u_of_columns_, &v_of_columns_, &u_of_rows_, &v_of_rows_}) {
        for (size_t i = 0; i < of->positions.size(); ++i) {
            write_waves(of->positions[i], current, of->values.data() + i * 2 * current.size());
        }
    }
}

template <class Cell>
void Encoding<Cell>::fill_features(const Context& context) {
    const Geometry& size = source_.size;
    context.pool->run(size.height, [&](int row, int) {
        float* to = base_->data + (size_t)row * size.width * size.padded;
        const int first = frame_of(row) * size.width;
        for (int x = 0; x < size.width; ++x, to += size.padded) {
            std::memcpy(to, columns_.entry(first + x), sizeof(float) * columns_.width);
            std::memcpy(to + columns_.width, rows_.entry(row), sizeof(float) * rows_.width);
        }
    });
}

// Places that are sums have waves that are sums of products: no sine is taken at a pixel.
template <class Cell>
void Encoding<Cell>::fill_warped(const Context& context) {
    const Geometry& size = source_.size;
    const size_t n = spec_.frequencies.size(), in_time = rows_.width - 2 * n;
    context.pool->run(size.height, [&](int row, int) {
        float* to = base_->data + (size_t)row * size.width * size.padded;
        for (int x = 0, i = frame_of(row) * size.width; x < size.width; ++x, ++i, to += size.padded) {
            add_places(u_of_columns_.entry(i), u_of_rows_.entry(row), n, to);
            add_places(v_of_rows_.entry(row), v_of_columns_.entry(i), n, to + 2 * n);
            std::memcpy(to + 4 * n, rows_.entry(row) + 2 * n, sizeof(float) * in_time);
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
    const int height = size.frame_height();
    std::vector<float> column_sums((size_t)size.width * size.padded), row_sum(size.padded);
    for (int frame = 0; frame < size.frames; ++frame) {
        std::fill(column_sums.begin(), column_sums.end(), 0.0f);
        for (int row = frame * height; row < (frame + 1) * height; ++row) {
            std::fill(row_sum.begin(), row_sum.end(), 0.0f);
            context.kernels->fp32.fourier->reduce_row(
                source_.d->data + (size_t)row * size.width * size.padded, size.width, size.padded,
                column_sums.data(), row_sum.data());
            std::copy_n(row_sum.data() + columns_.width, rows_.width,
                        rows_.gradient.data() + (size_t)row * rows_.width);
        }
        for (int x = 0; x < size.width; ++x) {
            std::copy_n(column_sums.data() + (size_t)x * size.padded, columns_.width,
                        columns_.gradient.data() + (size_t)(frame * size.width + x) * columns_.width);
        }
    }
}

// The same where every pixel has a place of its own.
template <class Cell>
void Encoding<Cell>::reduce_warped(const Context& context) {
    const Geometry& size = source_.size;
    const size_t n = spec_.frequencies.size();
    context.pool->run(size.height, [&](int row, int) {
        double* sums = row_gradients_.data() + (size_t)row * n;
        std::fill_n(sums, n, 0.0);
        const size_t first = (size_t)row * size.width * size.padded;
        const float *z = base_->data + first, *d = source_.d->data + first;
        for (int x = 0, i = frame_of(row) * size.width; x < size.width; ++x, ++i) {
            const double u = u_of_columns_.positions[i] + u_of_rows_.positions[row];
            const double v = v_of_rows_.positions[row] + v_of_columns_.positions[i];
            for (size_t k = 0; k < n; ++k) {
                sums[k] += u * (d[n + k] * z[k] - d[k] * z[n + k]) +
                           v * (d[3 * n + k] * z[2 * n + k] - d[2 * n + k] * z[3 * n + k]);
            }
            z += size.padded, d += size.padded;
        }
    });
    for (size_t k = 0; k < n; ++k) {
        double sum = 0;
        for (int row = 0; row < size.height; ++row) sum += row_gradients_[row * n + k];
        frequency_gradient_[k] = (float)sum;
    }
}

// d cos(u f) / df = -u sin(u f), d sin(u f) / df = u cos(u f).
template <class Cell>
void Encoding<Cell>::backward(const Context& context) {
    if (!frequency_gradient_ || given_) return;
    if (warps_) return reduce_warped(context);
    if (dense()) reduce_to_tables(context);
    const size_t n = spec_.frequencies.size();
    for (size_t k = 0; k < n; ++k) {
        double sum = 0;
        for (const FeatureTable* table : {&columns_, &rows_}) {
            for (int i = 0; i < table->count; ++i) {
                const float* value = table->entry(i);
                const double* d = table->gradient.data() + (size_t)i * table->width;
                sum += table->positions[i] * (d[n + k] * value[k] - d[k] * value[n + k]);
            }
        }
        frequency_gradient_[k] = (float)sum;
    }
}

template class Encoding<float>;
template class Encoding<bf16>;

}  // namespace dipedge
