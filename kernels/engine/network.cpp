#include "engine/network.h"

#include <algorithm>

#include "conv_norm_act/cpu.h"
#include "engine/decimated_conv.h"
#include "engine/fourier_conv.h"
#include "engine/pool.h"

namespace dipedge {

template <class Cell>
Network<Cell>::Network(const NetworkSpec& spec, std::unique_ptr<Encoding<Cell>> encoding, int outputs,
                       DataTerm term, Parameters& parameters, Arena& arena)
    : spec_(spec),
      encoding_(std::move(encoding)),
      parameters_(parameters),
      arena_(arena),
      levels_(spec.levels.size()) {
    const Geometry& whole = encoding_->source().size;
    if (spec.subsample) sampling_ = std::make_unique<Sampling>(whole.height, whole.width, whole.frames);
    Layer<Cell>* last = build_level(0, encoding_->source());
    tail_operation_ = (int)operations_.size();
    tail_ = std::make_unique<Tail<Cell>>(*last, outputs, spec.sigmoid, term, arena, tail_operation_,
                                         sampling_.get());
    parameters.add_head("head.conv.weight", outputs, last->size.channels, last->size.padded);
    parameters.add_vector("head.conv.bias", in_order(outputs), outputs);
    bindings_.push_back([this](Parameters& all) {
        const size_t weight = all.find("head.conv.weight")->offset;
        const size_t bias = all.find("head.conv.bias")->offset;
        tail_->set_parameters(all.values->data + weight, all.values->data + bias,
                              all.gradients->data + weight, all.gradients->data + bias);
    });
    add({last->y}, [this](const Context& context) { tail_->run(context); });
    size_t partial_floats = 0;
    for (const auto& conv : convs_) partial_floats = std::max(partial_floats, conv->partial_floats());
    partials_ = arena.add(partial_floats, (int)operations_.size());
    build_backward(0);
}

template <class Cell>
void Network<Cell>::add(std::vector<Buffer*> uses, Operation operation) {
    for (Buffer* buffer : uses) buffer->touch((int)operations_.size());
    operations_.push_back(std::move(operation));
}

template <class Cell>
void Network<Cell>::want_gradient(Source<Cell>& source) {
    if (!source.d) source.d = arena_.template add_cells<Cell>(source.size.cells(), (int)operations_.size());
}

template <class Cell>
void Network<Cell>::add_norm(const std::string& name, Norm& norm, const Source<Cell>& source) {
    std::vector<int> places;
    for (int channel = 0; channel < source.size.channels; ++channel) {
        places.push_back(source.place_of(channel));
    }
    parameters_.add_vector(name + ".weight", places, source.size.padded);
    parameters_.add_vector(name + ".bias", places, source.size.padded);
    bindings_.push_back([name, &norm](Parameters& all) {
        const size_t weight = all.find(name + ".weight")->offset;
        const size_t bias = all.find(name + ".bias")->offset;
        norm.gamma = all.values->data + weight;
        norm.beta = all.values->data + bias;
        norm.dgamma = all.gradients->data + weight;
        norm.dbeta = all.gradients->data + bias;
    });
}

// A convolution with what decimates it, as one operation where that is linear: maxima are taken apart.
template <class Cell>
static std::unique_ptr<Conv<Cell>> make_conv(Encoding<Cell>& encoding, Source<Cell>& source, int channels,
                                             int kernel, bool reflect, Downsample down,
                                             const Sampling* sampling) {
    const bool features = &source == &encoding.source() && !encoding.dense();
    if (down == Downsample::avg || down == Downsample::lanczos2 || down == Downsample::lanczos3) {
        const DecimationFilter filter = down == Downsample::avg
                                            ? average_filter()
                                            : lanczos_filter(2, down == Downsample::lanczos2 ? 2 : 3);
        if (features) return std::make_unique<FourierConv<Cell>>(encoding, channels, filter);
        return std::make_unique<DecimatedConv<Cell>>(source, channels, kernel, reflect, filter);
    }
    const int stride = down == Downsample::stride ? 2 : 1;
    // Of a sampled picture's z only what keeps its size reads the sampled pixels.
    if (features) {
        return std::make_unique<FourierConv<Cell>>(encoding, channels, stride,
                                                   down == Downsample::none ? sampling : nullptr);
    }
    return std::make_unique<Conv<Cell>>(source, channels, ConvShape{kernel, stride, reflect});
}

// A bias ahead of a batch norm changes nothing and has no gradient; it is kept for its name's sake (files
// and other engines have it) and takes no part in any kernel.
template <class Cell>
Conv<Cell>* Network<Cell>::add_conv(const std::string& name, Source<Cell>& source, int channels, int kernel,
                                    Downsample down) {
    convs_.push_back(make_conv(*encoding_, source, channels, kernel, spec_.reflect, down, sampling_.get()));
    Conv<Cell>* conv = convs_.back().get();
    std::vector<int> places;
    for (int channel = 0; channel < source.size.channels; ++channel) {
        places.push_back(source.place_of(channel));
    }
    parameters_.add_conv(name + ".conv.weight", channels, kernel, places, conv->depth(), conv->out().padded);
    parameters_.add_vector(name + ".conv.bias", in_order(channels), conv->out().padded);
    bindings_.push_back([name, conv](Parameters& all) {
        const size_t offset = all.find(name + ".conv.weight")->offset;
        conv->set_parameters(all.values->data + offset, all.gradients->data + offset);
    });
    return conv;
}

template <class Cell>
Layer<Cell>* Network<Cell>::add_layer(const std::string& name, const Geometry& size) {
    auto owned = std::make_unique<Layer<Cell>>(size, spec_.slope, spec_.bn_eps);
    Layer<Cell>* layer = owned.get();
    sources_.push_back(std::move(owned));
    layer->y = arena_.template add_cells<Cell>(size.cells(), (int)operations_.size());
    add_norm(name + ".bn", layer->norm, *layer);
    return layer;
}

template <class Cell>
Layer<Cell>* Network<Cell>::add_conv_layer(const std::string& name, Source<Cell>& source, int channels,
                                           int kernel, Conv<Cell>*& conv) {
    conv = add_conv(name, source, channels, kernel, Downsample::none);
    Layer<Cell>* layer = add_layer(name, conv->out());
    std::vector<Buffer*> uses = source.reads();
    uses.push_back(layer->y);
    add(uses, [conv, layer](const Context& context) { conv->forward(context, layer->y, &layer->norm); });
    return layer;
}

template <class Cell>
Layer<Cell>* Network<Cell>::add_down(const std::string& name, Level& level, Source<Cell>& source,
                                     const LevelSpec& spec) {
    Conv<Cell>* conv = level.down_conv =
        add_conv(name, source, spec.down, spec.kernel_down, spec_.downsample);
    Layer<Cell>* layer = add_layer(name, Conv<Cell>::output_size(source.size, spec.down, 2));
    std::vector<Buffer*> uses = source.reads();
    if (spec_.downsample != Downsample::max) {
        uses.push_back(layer->y);
        add(uses, [conv, layer](const Context& context) { conv->forward(context, layer->y, &layer->norm); });
        return layer;
    }
    Buffer* full = level.full = arena_.template add_cells<Cell>(conv->out().cells(), (int)operations_.size());
    uses.push_back(full);
    add(uses, [conv, full](const Context& context) { conv->forward(context, full, nullptr); });
    add({full, layer->y}, [conv, full, layer](const Context& context) {
        pool_forward(context, conv->out(), full, *layer, &layer->norm);
    });
    return layer;
}

// The order in which tensors are named is PyTorch's order of construction (dipedge/priors.py).
template <class Cell>
Layer<Cell>* Network<Cell>::build_level(int index, Source<Cell>& source) {
    Level& level = levels_[index];
    const LevelSpec& spec = spec_.levels[index];
    const std::string name = "level" + std::to_string(index);
    level.input = &source;
    if (spec.skip) {
        level.skip = add_conv_layer(name + ".skip", source, spec.skip, spec.kernel_skip, level.skip_conv);
    }
    level.down = add_down(name + ".down", level, source, spec);
    level.refine =
        add_conv_layer(name + ".refine", *level.down, spec.down, spec.kernel_down, level.refine_conv);
    const bool deepest = index + 1 == (int)levels_.size();
    Layer<Cell>* deep = deepest ? level.refine : build_level(index + 1, *level.refine);
    const Sampling* sampling = index == 0 ? sampling_.get() : nullptr;
    const Geometry& size = sampling ? deep->size : source.size;
    if (index == 0) largest_level_ = (int)operations_.size();
    auto owned = std::make_unique<Merge<Cell>>(*deep, level.skip, size.height, size.width, spec_.bilinear,
                                               spec_.bn_eps, sampling);
    Merge<Cell>* merge = level.merge = owned.get();
    sources_.push_back(std::move(owned));
    add_norm(name + ".merge.bn", merge->norm, *merge);
    add(merge->reads(), [merge](const Context& context) { merge->forward(context); });
    level.up = add_conv_layer(name + ".up", *merge, spec.up, spec.kernel_up, level.up_conv);
    if (!spec_.need1x1_up) return level.up;
    level.up1x1 = add_conv_layer(name + ".up1x1", *level.up, spec.up, 1, level.up1x1_conv);
    return level.up1x1;
}

template <class Cell>
void Network<Cell>::add_conv_backward(Conv<Cell>& conv, OutputGradient<Cell> from, bool first, bool last) {
    Source<Cell>& source = conv.source();
    std::vector<Buffer*> uses = source.reads();
    for (Buffer* buffer : from.reads()) uses.push_back(buffer);
    uses.push_back(partials_);
    if (source.d) uses.push_back(source.d);
    add(uses, [this, &conv, from, first, last](const Context& context) {
        conv.backward(context, from, partials_, first, last);
    });
}

template <class Cell>
void Network<Cell>::add_down_backward(Level& level, bool last) {
    const Layer<Cell>* down = level.down;
    const OutputGradient<Cell> from(down);
    if (!level.full) return add_conv_backward(*level.down_conv, from, true, last);
    const Geometry full = level.down_conv->out();
    const Buffer* before = level.full;
    Buffer* spread = arena_.template add_cells<Cell>(full.cells(), (int)operations_.size());
    add({down->y, down->d, level.full, spread},
        [=](const Context& context) { pool_adjoint(context, full, from, before, spread); });
    add_conv_backward(*level.down_conv, OutputGradient<Cell>(spread, full), true, last);
}

template <class Cell>
void Network<Cell>::build_backward(int index) {
    Level& level = levels_[index];
    const auto from = [&](const Layer<Cell>* layer) {
        return layer == &tail_->last() ? OutputGradient<Cell>(*tail_) : OutputGradient<Cell>(layer);
    };
    if (level.up1x1) {
        want_gradient(*level.up);
        add_conv_backward(*level.up1x1_conv, from(level.up1x1), true, true);
    }
    Merge<Cell>* merge = level.merge;
    want_gradient(*merge);
    add_conv_backward(*level.up_conv, from(level.up), true, true);
    std::vector<Buffer*> uses = merge->reads();
    want_gradient(merge->deep());
    if (level.skip) want_gradient(*level.skip);
    for (Source<Cell>* source :
         {(Source<Cell>*)merge, (Source<Cell>*)&merge->deep(), (Source<Cell>*)level.skip}) {
        if (source) uses.push_back(source->d);
    }
    add(uses, [merge](const Context& context) { merge->backward(context); });
    if (index + 1 < (int)levels_.size()) build_backward(index + 1);
    want_gradient(*level.down);
    add_conv_backward(*level.refine_conv, from(level.refine), true, true);
    if (index > 0) want_gradient(*level.input);
    add_down_backward(level, !level.skip);
    if (level.skip) add_conv_backward(*level.skip_conv, from(level.skip), false, true);
}

template <class Cell>
size_t Network<Cell>::scratch_bytes() const {
    size_t bytes = 65536;
    for (const auto& conv : convs_) bytes = std::max(bytes, conv->scratch_bytes());
    for (const Level& level : levels_) {
        bytes = std::max({bytes, level.merge->backward_scratch_bytes(), 2 * level.merge->scratch_bytes()});
        if (level.full) bytes = std::max(bytes, pool_scratch_bytes<Cell>(level.down_conv->out()));
    }
    return (bytes + 63) / 64 * 64;
}

template <class Cell>
void Network<Cell>::bind(Parameters& parameters) {
    for (const auto& binding : bindings_) binding(parameters);
}

// The other three quarters of the output, each with its own statistics, before the step's own quarter: then
// that one's layers are what the backward pass finds.
template <class Cell>
void Network<Cell>::complete_output(const Context& context) {
    const Level& level = levels_[0];
    const auto skip = [&] {
        if (level.skip) level.skip_conv->forward(context, level.skip->y, &level.skip->norm);
    };
    for (int other = 1; other < Sampling::cycle; ++other) {
        sampling_->turn(other);
        skip();
        level.merge->forward(context);
        level.up_conv->forward(context, level.up->y, &level.up->norm);
        if (level.up1x1) level.up1x1_conv->forward(context, level.up1x1->y, &level.up1x1->norm);
        tail_->complete(context);
    }
    sampling_->turn(0);
    skip();
}

template <class Cell>
void Network<Cell>::begin(const Context& context, uint64_t seed, uint64_t step, bool perturb) {
    encoding_->forward(context, seed, step, perturb);
    if (sampling_) sampling_->draw(seed, step);
    for (const auto& conv : convs_) conv->pack_weights(context);
}

template <class Cell>
void Network<Cell>::run(const Context& context, uint64_t seed, uint64_t step, bool perturb, bool complete) {
    begin(context, seed, step, perturb);
    for (int i = 0; i < (int)operations_.size(); ++i) {
        if (sampling_ && complete && i == largest_level_) complete_output(context);
        operations_[i](context);
    }
    if (encoding_->spec().learned) encoding_->backward(context);
}

template <class Cell>
void Network<Cell>::forward(const Context& context, uint64_t seed, uint64_t step, bool perturb) {
    begin(context, seed, step, perturb);
    for (int i = 0; i < tail_operation_; ++i) operations_[i](context);
    tail_->forward(context);
}

template <class Cell>
void Network<Cell>::backward(const Context& context, const float* gradient) {
    tail_->backward(context, gradient);
    for (int i = tail_operation_ + 1; i < (int)operations_.size(); ++i) operations_[i](context);
    if (encoding_->spec().learned) encoding_->backward(context);
}

template class Network<float>;
template class Network<bf16>;

}  // namespace dipedge
