#include "engine/weight_noise.h"

#include <algorithm>
#include <cmath>

#include "perturb/cpu.h"

namespace dipedge {
namespace {

constexpr uint64_t own_half = 1ull << 63;

}  // namespace

WeightNoise::WeightNoise(float share, Parameters& parameters) : share_(share), parameters_(parameters) {
    const std::vector<Parameter>& all = parameters.all();
    for (size_t tensor = 0; tensor < all.size(); ++tensor) {
        const Parameter& parameter = all[tensor];
        if (parameter.shape.size() != 4) continue;
        const int outputs = parameter.shape[0], inputs = parameter.shape[1];
        const bool along_outputs = parameter.output_stride == 1;
        const Rows rows{&parameter, tensor, along_outputs ? parameter.taps * inputs : outputs,
                        along_outputs ? outputs : inputs};
        longest_row_ = std::max(longest_row_, 4 * rows.blocks());
        tensors_.push_back(rows);
    }
    std::stable_sort(tensors_.begin(), tensors_.end(), [](const Rows& a, const Rows& b) {
        return a.parameter->count() > b.parameter->count();
    });
}

size_t WeightNoise::Rows::start(int row) const {
    if (parameter->output_stride != 1) return parameter->offset + row * parameter->output_stride;
    const int inputs = parameter->shape[1], place = parameter->input_place[row % inputs];
    return parameter->offset + row / inputs * parameter->tap_stride + place * parameter->input_stride;
}

double WeightNoise::deviation(const Rows& rows) const {
    const double count = (double)rows.count * rows.length;
    if (count < 2) return 0;
    double sum = 0, squares = 0;
    for (int row = 0; row < rows.count; ++row) {
        const float* values = parameters_.values->data + rows.start(row);
        for (int i = 0; i < rows.length; ++i) {
            sum += values[i];
            squares += (double)values[i] * values[i];
        }
    }
    return std::sqrt(std::max(squares - sum * sum / count, 0.0) / (count - 1));
}

void WeightNoise::add_to(const Context& context, const Rows& rows, uint64_t seed, uint64_t step,
                         float* noise) const {
    const PerturbKernels& perturb = *context.kernels->perturb;
    const float sigma = (float)(share_ * deviation(rows));
    const uint64_t first = own_half + (rows.tensor << 32);
    for (int row = 0; row < rows.count; ++row) {
        float* values = parameters_.values->data + rows.start(row);
        perturb.normal(seed, step, first + row * rows.blocks(), rows.blocks(), noise);
        perturb.add_noise(values, noise, sigma, rows.length, values);
    }
}

void WeightNoise::add(const Context& context, uint64_t seed, uint64_t step) const {
    context.pool->run((int)tensors_.size(), [&](int task, int worker) {
        add_to(context, tensors_[task], seed, step, context.scratch_of(worker).take<float>(longest_row_));
    });
}

}  // namespace dipedge
