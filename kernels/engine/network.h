// The hourglass as a plan: which layers there are, which operations a step runs, in which order.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/conv.h"
#include "engine/encoding.h"
#include "engine/merge.h"
#include "engine/parameters.h"
#include "engine/tail.h"

namespace dipedge {

struct LevelSpec {
    int down, up, skip, kernel_down, kernel_up, kernel_skip;
};

// How a convolution's result is decimated; `none` keeps the size.
enum class Downsample { none, stride, avg, max, lanczos2, lanczos3 };

// dipedge/priors.py's Hourglass in plain numbers.
struct NetworkSpec {
    // Whether all that reads z is pointwise, so that separable features need not be made.
    bool reads_pointwise() const {
        return levels[0].kernel_down == 1 && (levels[0].skip == 0 || levels[0].kernel_skip == 1);
    }

    // Whether no layer at all looks at a pixel's neighbours.
    bool pointwise() const {
        for (const LevelSpec& level : levels) {
            if (level.kernel_down != 1 || level.kernel_up != 1 || (level.skip && level.kernel_skip != 1)) {
                return false;
            }
        }
        return true;
    }

    std::vector<LevelSpec> levels;
    bool bilinear = true, reflect = true, need1x1_up = true, sigmoid = true;
    Downsample downsample = Downsample::stride;
    float slope = 0.2f, bn_eps = 1e-5f;
    bool subsample = false;  // the largest level computes one pixel of each 2 x 2 block in a step
};

// What a program needs of a network, whatever its cells.
class AnyNetwork {
  public:
    virtual ~AnyNetwork() = default;

    // Sets addresses, once the arena is placed.
    virtual void bind(Parameters& parameters) = 0;

    // Makes z for step number `step`, then forward, loss and all gradients, at the current parameters.
    // With `complete` a sampled network fills in the pixels of its output that the step does not see.
    virtual void run(const Context& context, uint64_t seed, uint64_t step, bool perturb, bool complete) = 0;

    // The two halves of run() for a loss that is computed elsewhere, of a network that is not sampled: as far as
    // the output, and from the gradient by it [pixels, outputs] to all others. Between the two nothing else may
    // run, and the parameters must stay as they are.
    virtual void forward(const Context& context, uint64_t seed, uint64_t step, bool perturb) = 0;
    virtual void backward(const Context& context, const float* gradient) = 0;

    virtual size_t scratch_bytes() const = 0;
    virtual AnyTail& tail() = 0;
    virtual AnyEncoding& encoding() = 0;
};

template <class Cell>
class Network : public AnyNetwork {
  public:
    // Lays out parameters and buffers; nothing is allocated before arena.place().
    Network(const NetworkSpec& spec, std::unique_ptr<Encoding<Cell>> encoding, int outputs, DataTerm term,
            Parameters& parameters, Arena& arena);

    void bind(Parameters& parameters) override;
    void run(const Context& context, uint64_t seed, uint64_t step, bool perturb, bool complete) override;
    void forward(const Context& context, uint64_t seed, uint64_t step, bool perturb) override;
    void backward(const Context& context, const float* gradient) override;
    size_t scratch_bytes() const override;
    Tail<Cell>& tail() override { return *tail_; }
    Encoding<Cell>& encoding() override { return *encoding_; }

  private:
    using Operation = std::function<void(const Context&)>;

    // The layers and convolutions of one level.
    struct Level {
        Source<Cell>* input = nullptr;
        Layer<Cell>*skip = nullptr, *down = nullptr, *refine = nullptr, *up = nullptr, *up1x1 = nullptr;
        Merge<Cell>* merge = nullptr;
        Conv<Cell>*skip_conv = nullptr, *down_conv = nullptr, *refine_conv = nullptr, *up_conv = nullptr,
        *up1x1_conv = nullptr;
        Buffer* full = nullptr;  // the down convolution's output when maxima are taken of it
    };

    void add(std::vector<Buffer*> uses, Operation operation);
    Conv<Cell>* add_conv(const std::string& name, Source<Cell>& source, int channels, int kernel,
                         Downsample down);
    Layer<Cell>* add_layer(const std::string& name, const Geometry& size);
    Layer<Cell>* add_conv_layer(const std::string& name, Source<Cell>& source, int channels, int kernel,
                                Conv<Cell>*& conv);
    Layer<Cell>* add_down(const std::string& name, Level& level, Source<Cell>& source, const LevelSpec& spec);
    Layer<Cell>* build_level(int index, Source<Cell>& source);
    void add_norm(const std::string& name, Norm& norm, const Source<Cell>& source);
    void want_gradient(Source<Cell>& source);
    void build_backward(int index);
    void complete_output(const Context& context);
    void begin(const Context& context, uint64_t seed, uint64_t step, bool perturb);
    void add_conv_backward(Conv<Cell>& conv, OutputGradient<Cell> from, bool first, bool last);
    void add_down_backward(Level& level, bool last);

    NetworkSpec spec_;
    std::unique_ptr<Encoding<Cell>> encoding_;
    std::unique_ptr<Sampling> sampling_;
    int largest_level_ = 0;  // its first operation after the levels below: the merge
    int tail_operation_ = 0;
    Parameters& parameters_;
    Arena& arena_;
    std::vector<std::unique_ptr<Source<Cell>>> sources_;
    std::vector<std::unique_ptr<Conv<Cell>>> convs_;
    std::vector<Level> levels_;
    std::unique_ptr<Tail<Cell>> tail_;
    Buffer* partials_ = nullptr;
    std::vector<Operation> operations_;
    std::vector<std::function<void(Parameters&)>> bindings_;
};

}  // namespace dipedge
