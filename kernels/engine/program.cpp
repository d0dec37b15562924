#include "engine/program.h"

#include <cstring>
#include <stdexcept>


namespace dipedge {

Program::Program(const ProgramSpec& spec) : spec_(spec) {
    context_.kernels = kernels_for(spec.isa.c_str());
    if (!context_.kernels) {
        throw std::invalid_argument("instruction set '" + spec.isa +
                                    "' cannot run here; this processor has: " + runnable_isas());
    }
    const EncodingSpec& encoding = spec_.encoding;
    const bool noisy_input = encoding.perturbation > 0 && !encoding.perturb_frequencies;
    const bool dense = encoding.frequencies.empty() || noisy_input || spec.input_gradient ||
                       !spec.network.reads_pointwise();
    encoding_ = std::make_unique<Encoding>(encoding, spec.height, spec.width, dense,
                                           encoding.learned || spec.input_gradient, arena_);
    network_ = std::make_unique<Network>(spec.network, *encoding_, spec.channels, spec.term, parameters_,
                                         arena_);
    if (encoding.learned) {
        const int count = (int)encoding.frequencies.size();
        parameters_.add_vector("encoding.frequencies", in_order(count), count);
    }
    parameters_.allocate(arena_);
    average_ = arena_.add_persistent(network_->tail().out_floats());
    context_.scratch_floats = network_->scratch_floats();
    scratch_ = arena_.add_persistent(context_.scratch_floats * spec.threads);
    arena_.place();
    context_.scratch = scratch_;
    network_->bind(parameters_);
    if (const Parameter* frequencies = parameters_.find("encoding.frequencies")) {
        encoding_->set_frequencies(parameters_.values->data + frequencies->offset,
                                   parameters_.gradients->data + frequencies->offset);
    }
    optimiser_ = std::make_unique<Optimiser>(spec.optimiser, parameters_);
    pool_ = std::make_unique<ThreadPool>(spec.threads);
    context_.pool = pool_.get();
}

void Program::run(bool perturb) {
    encoding_->forward(context_, spec_.seed, steps_, perturb);
    network_->run(context_);
    if (spec_.encoding.learned) encoding_->backward(context_);
    loss_ = network_->tail().loss();
}

void Program::step(int count) {
    for (int i = 0; i < count; ++i) {
        run(true);
        if (steps_ == 0) {
            std::memcpy(average_->data, network_->tail().out(), sizeof(float) * average_->floats);
        } else {
            network_->tail().average(context_, spec_.average, average_->data);
        }
        ++steps_;
        optimiser_->step(context_, steps_);
    }
}

}  // namespace dipedge
