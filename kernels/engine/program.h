// One fit: the network, its optimiser and everything a step changes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/network.h"
#include "engine/optimiser.h"
#include "engine/weight_noise.h"

namespace dipedge {

struct ProgramSpec {
    NetworkSpec network;
    EncodingSpec encoding;
    DataTerm term;
    OptimiserSpec optimiser;
    int height = 0, width = 0, channels = 3;
    float average = 0.99f;
    float weight_noise = 0;  // of each convolution's deviation, added to its weights before a step
    uint64_t seed = 0;
    int threads = 1;
    std::string isa;  // empty: the best there is
    bool input_gradient = false;
    bool half = false;  // bf16 activations
};

class Program {
  public:
    // Takes all the memory it will ever use. Throws OutOfMemory, or std::invalid_argument for an
    // instruction set that cannot run here.
    explicit Program(const ProgramSpec& spec);

    const ProgramSpec& spec() const { return spec_; }
    const char* isa() const { return context_.kernels->isa; }
    size_t memory_bytes() const { return arena_.bytes(); }

    // `count` steps: forward, backward, update, averaging.
    void step(int count);

    // Forward and backward at the current weights and the unperturbed z, no update.
    void evaluate();

    // A step in two halves, for a loss that is computed elsewhere: forward() as far as the output (tail().out()),
    // backward() from the loss's gradient by it [height, width, channels] on. With `perturb` false they are the
    // halves of evaluate() instead, and nothing is updated. Another step or evaluation in between, or new weights,
    // throw the first half away; backward() then throws std::invalid_argument, as it does without any.
    void forward(bool perturb);
    void backward(const float* gradient, double loss);
    bool begun() const { return begun_ == Begun::step; }
    void forget_forward() { begun_ = Begun::nothing; }

    // Says that weights were set from outside: a step from them begins anew, with noise of its own.
    void weights_changed() { begun_ = Begun::nothing, noisy_weights_ = false; }

    double loss() const { return loss_; }
    void set_loss(double loss) { loss_ = loss; }
    uint64_t steps_done() const { return steps_; }
    void set_steps_done(uint64_t steps) { steps_ = steps, new_target_ = false, weights_changed(); }

    // Says that the target is another one: a sampled network's next step computes its whole output, so that
    // every frame of a stream is seen, however few steps it is given.
    void target_changed() { new_target_ = true; }
    uint64_t seed() const { return spec_.seed; }
    void set_seed(uint64_t seed) { spec_.seed = seed, begun_ = Begun::nothing; }

    Parameters& parameters() { return parameters_; }
    AnyEncoding& encoding() { return network_->encoding(); }
    AnyTail& tail() { return network_->tail(); }
    bool half() const { return spec_.half; }
    float* averaged() const { return average_->data; }
    size_t out_floats() const { return average_->floats; }

  private:
    template <class Cell>
    std::unique_ptr<AnyNetwork> make_network();
    enum class Begun { nothing, step, evaluation };  // of what a forward pass is the first half

    void check_inner_loss() const;
    void prepare_thread() const;
    void run(bool perturb, bool complete);
    void add_weight_noise();
    void finish_step(bool complete, float weight);
    bool makes_z() const;  // in memory, not as separable tables
    const char* why_not_subsampled() const;
    const char* why_not_frames() const;

    ProgramSpec spec_;
    Arena arena_;
    Parameters parameters_;
    std::unique_ptr<ThreadPool> pool_;
    std::unique_ptr<AnyNetwork> network_;
    std::unique_ptr<Optimiser> optimiser_;
    std::unique_ptr<WeightNoise> weight_noise_;
    Context context_;
    Buffer* average_ = nullptr;
    Buffer* scratch_ = nullptr;
    double loss_ = 0;
    uint64_t steps_ = 0;
    bool new_target_ = false;
    Begun begun_ = Begun::nothing;
    bool noisy_weights_ = false;  // whether the next step's noise is in them already
};

}  // namespace dipedge
