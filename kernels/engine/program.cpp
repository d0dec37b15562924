#include "engine/program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace dipedge {

Program::Program(const ProgramSpec& spec) : spec_(spec) {
    context_.kernels = kernels_for(spec.isa.c_str());
    if (!context_.kernels) {
        throw std::invalid_argument("instruction set '" + spec.isa +
                                    "' cannot run here; this processor has: " + runnable_isas());
    }
    if (spec.half && !context_.kernels->has_bf16()) {
        throw std::invalid_argument(std::string("instruction set '") + context_.kernels->isa +
                                    "' does not multiply bf16");
    }
    if (const char* reason = why_not_subsampled()) throw std::invalid_argument(reason);
    if (const char* reason = why_not_frames()) throw std::invalid_argument(reason);
    const EncodingSpec& encoding = spec_.encoding;
    network_ = spec.half ? make_network<bf16>() : make_network<float>();
    if (encoding.learned) {
        const int count = (int)encoding.frequencies.size();
        parameters_.add_vector("encoding.frequencies", in_order(count), count);
    }
    parameters_.allocate(arena_);
    average_ = arena_.add_persistent(network_->tail().out_floats());
    if (spec.weight_noise > 0) weight_noise_ = std::make_unique<WeightNoise>(spec.weight_noise, parameters_);
    const size_t noise_bytes = weight_noise_ ? weight_noise_->scratch_bytes() : 0;
    context_.scratch_bytes = std::max(network_->scratch_bytes(), noise_bytes);
    scratch_ = arena_.add_persistent(context_.scratch_bytes / sizeof(float) * spec.threads);
    arena_.place();
    context_.scratch = scratch_;
    network_->bind(parameters_);
    if (const Parameter* frequencies = parameters_.find("encoding.frequencies")) {
        network_->encoding().set_frequencies(parameters_.values->data + frequencies->offset,
                                             parameters_.gradients->data + frequencies->offset);
    }
    optimiser_ = std::make_unique<Optimiser>(spec.optimiser, parameters_);
    pool_ = std::make_unique<ThreadPool>(spec.threads, context_.kernels->prepare_thread);
    context_.pool = pool_.get();
}

bool Program::makes_z() const {
    const EncodingSpec& encoding = spec_.encoding;
    const bool noisy_input = encoding.perturbation > 0 && !encoding.perturb_frequencies;
    return encoding.frequencies.empty() || noisy_input || encoding.warped || spec_.input_gradient ||
           !spec_.network.reads_pointwise();
}

const char* Program::why_not_subsampled() const {
    const NetworkSpec& network = spec_.network;
    if (!network.subsample) return nullptr;
    if (network.levels[0].kernel_up != 1)
        return "a subsampled step needs pointwise layers at the largest level";
    if (makes_z()) return "a subsampled step needs Fourier features that are read pointwise, without noise";
    if (spec_.term.kind == DataTerm::lanczos) return "a subsampled step needs a pointwise data term";
    if (spec_.term.kind == DataTerm::outer) return "a subsampled step needs a data term of this engine";
    return nullptr;
}

const char* Program::why_not_frames() const {
    const int frames = spec_.encoding.frames;
    if (frames == 1) return nullptr;
    if (frames < 1 || spec_.height % frames) return "frames must be stacked whole";
    if (!spec_.network.pointwise()) return "stacked frames need layers that are all pointwise";
    if (spec_.encoding.frequencies.empty()) return "stacked frames need Fourier features";
    return nullptr;
}

template <class Cell>
std::unique_ptr<AnyNetwork> Program::make_network() {
    const EncodingSpec& encoding = spec_.encoding;
    const bool dense = makes_z();
    auto made = std::make_unique<Encoding<Cell>>(encoding, spec_.height, spec_.width, dense,
                                                 encoding.learned || spec_.input_gradient, arena_);
    return std::make_unique<Network<Cell>>(spec_.network, std::move(made), spec_.channels, spec_.term,
                                           parameters_, arena_);
}

void Program::prepare_thread() const {
    if (context_.kernels->prepare_thread) context_.kernels->prepare_thread();
}

void Program::check_inner_loss() const {
    if (spec_.term.kind == DataTerm::outer) {
        throw std::invalid_argument(
            "this program's loss is computed elsewhere: use forward() and backward()");
    }
}

void Program::run(bool perturb, bool complete) {
    check_inner_loss();
    prepare_thread();
    begun_ = Begun::nothing;
    network_->run(context_, spec_.seed, steps_, perturb, complete);
    loss_ = network_->tail().loss();
}

void Program::evaluate() { run(false, true); }

void Program::step(int count) {
    // A sampled network has a whole output once a cycle; its average forgets as much in a cycle. One more, for
    // a new target, counts as one step.
    const bool sampled = spec_.network.subsample;
    for (int i = 0; i < count; ++i) {
        const bool ends_cycle = sampled && Sampling::completes(steps_);
        const bool complete = !sampled || ends_cycle || new_target_;
        const float weight = ends_cycle ? std::pow(spec_.average, (float)Sampling::cycle) : spec_.average;
        add_weight_noise();
        run(true, complete);
        finish_step(complete, weight);
    }
}

// Once a step, though its first half may be computed several times.
void Program::add_weight_noise() {
    if (weight_noise_ && !noisy_weights_) weight_noise_->add(context_, spec_.seed, steps_);
    noisy_weights_ = true;
}

// What a step does once all gradients are there.
void Program::finish_step(bool complete, float weight) {
    new_target_ = noisy_weights_ = false;
    if (steps_ == 0) {
        std::memcpy(average_->data, network_->tail().out(), sizeof(float) * average_->floats);
    } else if (complete) {
        network_->tail().average(context_, weight, average_->data);
    }
    ++steps_;
    optimiser_->step(context_, steps_);
}

void Program::forward(bool perturb) {
    if (spec_.network.subsample) {
        throw std::invalid_argument("a subsampled step cannot be made in two halves");
    }
    prepare_thread();
    if (perturb) add_weight_noise();
    network_->forward(context_, spec_.seed, steps_, perturb);
    begun_ = perturb ? Begun::step : Begun::evaluation;
}

void Program::backward(const float* gradient, double loss) {
    if (begun_ == Begun::nothing)
        throw std::invalid_argument("backward() must follow a forward() at the same weights");
    prepare_thread();
    network_->backward(context_, gradient);
    loss_ = loss;
    if (begun_ == Begun::step) finish_step(true, spec_.average);
    begun_ = Begun::nothing;
}

}  // namespace dipedge
