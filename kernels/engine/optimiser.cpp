#include "engine/optimiser.h"

#include <algorithm>
#include <cmath>

#include "adam/cpu.h"
#include "conv_norm_act/cpu.h"
#include "muon/cpu.h"

namespace dipedge {
namespace {

constexpr size_t share_floats = 16384;  // Adam's work is shared out in runs of this size

// Coefficients of the quintic whose iteration drives all singular values towards 1 (Jordan, 2024).
constexpr float quintic_a = 3.4445f, quintic_b = -4.7750f, quintic_c = 2.0315f;

}  // namespace

Optimiser::Optimiser(const OptimiserSpec& spec, Parameters& parameters)
    : spec_(spec), parameters_(parameters) {
    for (const Parameter& parameter : parameters.all()) {
        if (spec.muon_rate > 0 && parameter.is_wide_matrix()) {
            const int columns = (int)parameter.input_stride;
            matrices_.push_back({parameter.offset, (int)(parameter.floats / columns), columns});
            continue;
        }
        for (size_t from = 0; from < parameter.floats; from += share_floats) {
            const size_t end = parameter.offset + std::min(from + share_floats, parameter.floats);
            const size_t begin = parameter.offset + from;
            if (!shares_.empty() && shares_.back().end == begin &&
                end - shares_.back().begin <= share_floats) {
                shares_.back().end = end;
            } else {
                shares_.push_back({begin, end});
            }
        }
    }
    std::stable_sort(matrices_.begin(), matrices_.end(),
                     [](const Matrix& a, const Matrix& b) { return a.floats() > b.floats(); });
}

void Optimiser::step(const Context& context, uint64_t step) {
    if (workspaces_.empty()) workspaces_.resize(context.pool->size());
    const int matrices = (int)matrices_.size();
    context.pool->run(matrices + (int)shares_.size(), [&](int task, int worker) {
        if (task < matrices) {
            muon_matrix(context, matrices_[task], spec_.falling_rate(step), workspaces_[worker]);
        } else {
            adam_share(context, step, shares_[task - matrices]);
        }
    });
}

void Optimiser::adam_share(const Context& context, uint64_t step, const Share& share) {
    const double correction1 = 1.0 - std::pow(spec_.beta1, (double)step);
    const double correction2 = 1.0 - std::pow(spec_.beta2, (double)step);
    const AdamStep constants{(float)(spec_.learning_rate / correction1),
                             (float)std::sqrt(correction2),
                             (float)spec_.beta2,
                             (float)(1.0 - spec_.beta1),
                             (float)(1.0 - spec_.beta2),
                             (float)spec_.eps};
    context.kernels->adam->update(
        constants, share.end - share.begin, parameters_.gradients->data + share.begin,
        parameters_.means->data + share.begin, parameters_.squares->data + share.begin,
        parameters_.values->data + share.begin);
}

// The batch norm behind every wide matrix makes its scale irrelevant to the output, so the step counts
// relative to the matrix's norm: the norm is held, and the learning rate is an angle per step.
void Optimiser::muon_matrix(const Context& context, const Matrix& matrix, double share,
                            Workspace& workspace) {
    const MuonKernels& kernels = *context.kernels->muon;
    const size_t floats = matrix.floats();
    float* values = parameters_.values->data + matrix.offset;
    workspace.update.resize(std::max(workspace.update.size(), floats));
    workspace.next.resize(std::max(workspace.next.size(), floats));
    const double squares =
        kernels.momentum(parameters_.gradients->data + matrix.offset, (float)spec_.momentum, floats,
                         parameters_.means->data + matrix.offset, workspace.update.data());
    const double before = std::sqrt(kernels.sum_of_squares(values, floats));
    orthogonalise(context, matrix, std::sqrt(squares), workspace);
    const double length = std::sqrt(kernels.sum_of_squares(workspace.update.data(), floats));
    const double rate = share * before / std::max(length, 1e-30);
    kernels.combine(values, 1.0f, workspace.update.data(), (float)-rate, floats, values);
    const double after = std::sqrt(kernels.sum_of_squares(values, floats));
    if (after > 0) kernels.combine(values, (float)(before / after), values, 0.0f, floats, values);
}

// Newton-Schulz: X <- a X + X (b G + c G^2), G = X^T X. The rows of the matrix are the long side or the
// short one; the polynomial is taken on the outputs' side either way, which only costs arithmetic.
void Optimiser::orthogonalise(const Context& context, const Matrix& matrix, double norm,
                              Workspace& workspace) {
    const ConvKernels<float>& conv = *context.kernels->fp32.conv;
    const MuonKernels& kernels = *context.kernels->muon;
    const int rows = matrix.rows, columns = matrix.columns;
    const size_t square = (size_t)columns * columns;
    workspace.gram.resize(std::max(workspace.gram.size(), square));
    workspace.polynomial.resize(std::max(workspace.polynomial.size(), square));
    workspace.packed.resize(std::max(workspace.packed.size(), square));
    float *x = workspace.update.data(), *next = workspace.next.data();
    float *gram = workspace.gram.data(), *polynomial = workspace.polynomial.data();
    kernels.combine(x, (float)(1.0 / (norm + 1e-20)), x, 0.0f, matrix.floats(), x);
    for (int i = 0; i < spec_.iterations; ++i) {
        std::fill_n(gram, square, 0.0f);
        conv.multiply_outer(x, rows, columns, 1, 0, columns, x, columns, rows, gram, columns);
        std::fill_n(polynomial, square, 0.0f);
        conv.multiply_outer(gram, columns, columns, 1, 0, columns, gram, columns, columns, polynomial,
                            columns);
        kernels.combine(gram, quintic_b, polynomial, quintic_c, square, polynomial);
        for (int k = 0; k < columns; ++k) polynomial[(size_t)k * columns + k] += quintic_a;
        conv.pack(polynomial, columns, columns, columns, workspace.packed.data());
        const Tap<float> tap{x, workspace.packed.data()};
        conv.multiply(&tap, 1, columns, columns, rows, columns, next, columns, false);
        std::swap(x, next);
    }
    if (x != workspace.update.data()) std::copy_n(x, matrix.floats(), workspace.update.data());
}

}  // namespace dipedge
