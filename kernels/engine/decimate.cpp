#include "engine/decimate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lanczos_conv/cpu.h"

namespace dipedge {

std::vector<double> lanczos_weights(int scale, int lobes, bool half_phase) {
    const int count = 2 * lobes * scale + (half_phase ? 0 : 1);
    const double centre = (count - 1) / 2.0;
    const auto sinc = [](double x) { return x == 0.0 ? 1.0 : std::sin(M_PI * x) / (M_PI * x); };
    std::vector<double> weights(count);
    double sum = 0;
    for (int i = 0; i < count; ++i) {
        const double distance = std::abs(i - centre) / scale;
        weights[i] = sinc(distance) * sinc(distance / lobes);
        sum += weights[i];
    }
    for (double& weight : weights) weight /= sum;
    return weights;
}

// With an even scale the kernel has an even count (phase 1/2), with an odd one an odd count: either way
// its middle falls on the middle of the scale x scale cell that becomes one pixel.
LanczosDecimation::LanczosDecimation(int height, int width, int channels, int scale, int lobes)
    : height_(height), width_(width), channels_(channels), scale_(scale) {
    for (const double weight : lanczos_weights(scale, lobes, scale % 2 == 0)) {
        weights_.push_back((float)weight);
    }
    const int taps = (int)weights_.size();
    pad_ = (taps - scale) / 2;
    out_height_ = (height + scale - 1) / scale;
    out_width_ = (width + scale - 1) / scale;
    rows_seen_.resize(height);
    for (int row = 0; row < out_height_; ++row) {
        for (int k = 0; k < taps; ++k) {
            rows_seen_[std::clamp(row * scale - pad_ + k, 0, height - 1)].push_back({row, weights_[k]});
        }
    }
}

void LanczosDecimation::forward(const Context& context, const float* from, float* workspace,
                                float* to) const {
    const size_t row_floats = (size_t)width_ * channels_;
    const int taps = (int)weights_.size();
    context.pool->run(out_height_, [&](int row, int) {
        float* thinned = workspace + row * row_floats;
        std::memset(thinned, 0, sizeof(float) * row_floats);
        for (int k = 0; k < taps; ++k) {
            const int seen = std::clamp(row * scale_ - pad_ + k, 0, height_ - 1);
            context.kernels->lanczos->add_scaled(weights_[k], from + seen * row_floats, row_floats, thinned);
        }
        context.kernels->lanczos->decimate_row(thinned, width_, channels_, weights_.data(), taps, scale_,
                                               pad_, out_width_, to + (size_t)row * out_width_ * channels_);
    });
}

void LanczosDecimation::adjoint(const Context& context, const float* from, float* workspace,
                                float* to) const {
    const size_t row_floats = (size_t)width_ * channels_;
    context.pool->run(out_height_, [&](int row, int) {
        context.kernels->lanczos->spread_row(from + (size_t)row * out_width_ * channels_, width_, channels_,
                                             weights_.data(), (int)weights_.size(), scale_, pad_, out_width_,
                                             workspace + row * row_floats);
    });
    context.pool->run(height_, [&](int row, int) {
        float* gathered = to + row * row_floats;
        std::memset(gathered, 0, sizeof(float) * row_floats);
        for (const auto& [seen_by, weight] : rows_seen_[row]) {
            context.kernels->lanczos->add_scaled(weight, workspace + seen_by * row_floats, row_floats,
                                                 gathered);
        }
    });
}

}  // namespace dipedge
