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

enum class Downsample { stride, avg, max, lanczos2, lanczos3 };

// dipedge/priors.py's Hourglass in plain numbers.
struct NetworkSpec {
    // Whether all that reads z is pointwise, so that separable features need not be made.
    bool reads_pointwise() const {
        return levels[0].kernel_down == 1 && (levels[0].skip == 0 || levels[0].kernel_skip == 1);
    }

    std::vector<LevelSpec> levels;
    bool bilinear = true, reflect = true, need1x1_up = true, sigmoid = true;
    Downsample downsample = Downsample::stride;
    float slope = 0.2f, bn_eps = 1e-5f;
};

class Network {
  public:
    // Lays out parameters and buffers; nothing is allocated before arena.place().
    Network(const NetworkSpec& spec, Encoding& encoding, int outputs, DataTerm term,
            Parameters& parameters, Arena& arena);

    // Sets addresses, once the arena is placed.
    void bind(Parameters& parameters);

    // Forward, loss and all gradients, at the current parameters and z.
    void run(const Context& context);

    Tail& tail() { return *tail_; }
    size_t scratch_floats() const;

  private:
    using Operation = std::function<void(const Context&)>;

    // The layers and convolutions of one level.
    struct Level {
        Source* input = nullptr;
        Layer *skip = nullptr, *down = nullptr, *refine = nullptr, *up = nullptr, *up1x1 = nullptr;
        Merge* merge = nullptr;
        Conv *skip_conv = nullptr, *down_conv = nullptr, *refine_conv = nullptr, *up_conv = nullptr,
             *up1x1_conv = nullptr;
        Buffer* full = nullptr;  // the down convolution's output when it is decimated afterwards
        const LanczosDecimation* lanczos = nullptr;
    };

    void add(std::vector<Buffer*> uses, Operation operation);
    Conv* add_conv(const std::string& name, Source& source, int channels, int kernel, int stride);
    Layer* add_layer(const std::string& name, const Geometry& size);
    Layer* add_conv_layer(const std::string& name, Source& source, int channels, int kernel, Conv*& conv);
    Layer* add_down(const std::string& name, Level& level, Source& source, const LevelSpec& spec);
    Layer* build_level(int index, Source& source);
    void add_norm(const std::string& name, Norm& norm, const Source& source);
    void want_gradient(Source& source);
    void build_backward(int index);
    void add_conv_backward(Conv& conv, OutputGradient from, bool first, bool last);
    void add_down_backward(Level& level, bool last);

    NetworkSpec spec_;
    Encoding& encoding_;
    Parameters& parameters_;
    Arena& arena_;
    std::vector<std::unique_ptr<Source>> sources_;
    std::vector<std::unique_ptr<Conv>> convs_;
    std::vector<std::unique_ptr<LanczosDecimation>> decimations_;
    std::vector<Level> levels_;
    std::unique_ptr<Tail> tail_;
    Buffer* partials_ = nullptr;
    std::vector<Operation> operations_;
    std::vector<std::function<void(Parameters&)>> bindings_;
};

}  // namespace dipedge
