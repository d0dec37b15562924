#include "engine/network.h"

#include <algorithm>

#include "conv_norm_act/cpu.h"
#include "engine/fourier_conv.h"

namespace dipedge {

Network::Network(const NetworkSpec& spec, Encoding& encoding, int outputs, DataTerm term,
                 Parameters& parameters, Arena& arena)
    : spec_(spec), encoding_(encoding), parameters_(parameters), arena_(arena), levels_(spec.levels.size()) {
    Layer* last = build_level(0, encoding.source());
    tail_ = std::make_unique<Tail>(*last, outputs, spec.sigmoid, term, arena, (int)operations_.size());
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

void Network::add(std::vector<Buffer*> uses, Operation operation) {
    for (Buffer* buffer : uses) buffer->touch((int)operations_.size());
    operations_.push_back(std::move(operation));
}

void Network::want_gradient(Source& source) {
    if (!source.d) source.d = arena_.add(source.size.floats(), (int)operations_.size());
}

void Network::add_norm(const std::string& name, Norm& norm, const Source& source) {
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

// A bias ahead of a batch norm changes nothing and has no gradient; it is kept for its name's sake (files
// and other engines have it) and takes no part in any kernel.
Conv* Network::add_conv(const std::string& name, Source& source, int channels, int kernel, int stride) {
    if (&source == &encoding_.source() && !encoding_.dense()) {
        convs_.push_back(std::make_unique<FourierConv>(encoding_, channels, stride));
    } else {
        convs_.push_back(std::make_unique<Conv>(source, channels, ConvShape{kernel, stride, spec_.reflect}));
    }
    Conv* conv = convs_.back().get();
    std::vector<int> places;
    for (int channel = 0; channel < source.size.channels; ++channel) {
        places.push_back(source.place_of(channel));
    }
    parameters_.add_conv(name + ".conv.weight", channels, kernel, places, conv->depth(),
                         conv->out().padded);
    parameters_.add_vector(name + ".conv.bias", in_order(channels), conv->out().padded);
    bindings_.push_back([name, conv](Parameters& all) {
        const size_t offset = all.find(name + ".conv.weight")->offset;
        conv->set_parameters(all.values->data + offset, all.gradients->data + offset);
    });
    return conv;
}

Layer* Network::add_layer(const std::string& name, const Geometry& size) {
    auto owned = std::make_unique<Layer>(size, spec_.slope, spec_.bn_eps);
    Layer* layer = owned.get();
    sources_.push_back(std::move(owned));
    layer->y = arena_.add(size.floats(), (int)operations_.size());
    add_norm(name + ".bn", layer->norm, *layer);
    return layer;
}

Layer* Network::add_conv_layer(const std::string& name, Source& source, int channels, int kernel,
                               Conv*& conv) {
    conv = add_conv(name, source, channels, kernel, 1);
    Layer* layer = add_layer(name, conv->out());
    std::vector<Buffer*> uses = source.reads();
    uses.push_back(layer->y);
    add(uses, [conv, layer](const Context& context) {
        conv->forward(context, layer->y, &layer->norm);
    });
    return layer;
}

// Moments of a picture that no convolution made directly.
static void take_moments(const Context& context, Layer& layer) {
    const Slabs slabs(layer.size);
    layer.norm.clear_sums();
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            context.kernels->conv->moments(layer.y_row(row), layer.size.padded, layer.size.width,
                                           layer.size.padded, layer.norm.slab_sums(slab));
        }
    });
    layer.norm.finish_forward();
}

Layer* Network::add_down(const std::string& name, Level& level, Source& source, const LevelSpec& spec) {
    const bool strided = spec_.downsample == Downsample::stride;
    Conv* conv = level.down_conv = add_conv(name, source, spec.down, spec.kernel_down, strided ? 2 : 1);
    const Geometry in = conv->out();
    Layer* layer = add_layer(name, Conv::output_size(source.size, spec.down, 2));
    std::vector<Buffer*> uses = source.reads();
    if (strided) {
        uses.push_back(layer->y);
        add(uses, [conv, layer](const Context& context) {
            conv->forward(context, layer->y, &layer->norm);
        });
        return layer;
    }
    Buffer* full = level.full = arena_.add(in.floats(), (int)operations_.size());
    uses.push_back(full);
    add(uses, [conv, full](const Context& context) { conv->forward(context, full, nullptr); });
    if (spec_.downsample == Downsample::avg || spec_.downsample == Downsample::max) {
        const bool maximum = spec_.downsample == Downsample::max;
        add({full, layer->y}, [=](const Context& context) {
            pool_forward(context, in, maximum, full->data, layer->y->data);
            take_moments(context, *layer);
        });
        return layer;
    }
    const int lobes = spec_.downsample == Downsample::lanczos2 ? 2 : 3;
    decimations_.push_back(
        std::make_unique<LanczosDecimation>(in.height, in.width, in.padded, 2, lobes));
    const LanczosDecimation* lanczos = level.lanczos = decimations_.back().get();
    Buffer* workspace = arena_.add(lanczos->workspace_floats(), (int)operations_.size());
    add({full, layer->y, workspace}, [=](const Context& context) {
        lanczos->forward(context, full->data, workspace->data, layer->y->data);
        take_moments(context, *layer);
    });
    return layer;
}

// The order in which tensors are named is PyTorch's order of construction (dipedge/priors.py).
Layer* Network::build_level(int index, Source& source) {
    Level& level = levels_[index];
    const LevelSpec& spec = spec_.levels[index];
    const std::string name = "level" + std::to_string(index);
    level.input = &source;
    if (spec.skip) {
        level.skip = add_conv_layer(name + ".skip", source, spec.skip, spec.kernel_skip, level.skip_conv);
    }
    level.down = add_down(name + ".down", level, source, spec);
    level.refine = add_conv_layer(name + ".refine", *level.down, spec.down, spec.kernel_down,
                                  level.refine_conv);
    const bool deepest = index + 1 == (int)levels_.size();
    Layer* deep = deepest ? level.refine : build_level(index + 1, *level.refine);
    auto owned = std::make_unique<Merge>(*deep, level.skip, source.size.height, source.size.width,
                                         spec_.bilinear, spec_.bn_eps);
    Merge* merge = level.merge = owned.get();
    sources_.push_back(std::move(owned));
    add_norm(name + ".merge.bn", merge->norm, *merge);
    add(merge->reads(), [merge](const Context& context) { merge->forward(context); });
    level.up = add_conv_layer(name + ".up", *merge, spec.up, spec.kernel_up, level.up_conv);
    if (!spec_.need1x1_up) return level.up;
    level.up1x1 = add_conv_layer(name + ".up1x1", *level.up, spec.up, 1, level.up1x1_conv);
    return level.up1x1;
}

void Network::add_conv_backward(Conv& conv, OutputGradient from, bool first, bool last) {
    Source& source = conv.source();
    std::vector<Buffer*> uses = source.reads();
    for (Buffer* buffer : from.reads()) uses.push_back(buffer);
    uses.push_back(partials_);
    if (source.d) uses.push_back(source.d);
    add(uses, [this, &conv, from, first, last](const Context& context) {
        conv.backward(context, from, partials_, first, last);
    });
}

void Network::add_down_backward(Level& level, bool last) {
    const Layer* down = level.down;
    const OutputGradient from(down);
    if (!level.full) return add_conv_backward(*level.down_conv, from, true, last);
    const Geometry full = level.down_conv->out();
    Buffer* pooled = arena_.add(down->size.floats(), (int)operations_.size());
    Buffer* spread = arena_.add(full.floats(), (int)operations_.size());
    Buffer* workspace =
        arena_.add(level.lanczos ? level.lanczos->workspace_floats() : 0, (int)operations_.size());
    const LanczosDecimation* lanczos = level.lanczos;
    const Buffer* before = level.full;
    const bool maximum = spec_.downsample == Downsample::max;
    add({down->y, down->d, level.full, pooled, spread, workspace}, [=](const Context& context) {
        const size_t row_floats = (size_t)from.size.width * from.size.padded;
        context.pool->run(from.size.height, [&](int row, int) {
            from.pack(*context.kernels, row, 0, from.size.width, pooled->data + row * row_floats);
        });
        if (lanczos) {
            lanczos->adjoint(context, pooled->data, workspace->data, spread->data);
        } else {
            pool_adjoint(context, full, maximum, pooled->data, before->data, spread->data);
        }
    });
    add_conv_backward(*level.down_conv, OutputGradient(spread, full), true, last);
}

void Network::build_backward(int index) {
    Level& level = levels_[index];
    const auto from = [&](const Layer* layer) {
        return layer == &tail_->last() ? OutputGradient(*tail_) : OutputGradient(layer);
    };
    if (level.up1x1) {
        want_gradient(*level.up);
        add_conv_backward(*level.up1x1_conv, from(level.up1x1), true, true);
    }
    Merge* merge = level.merge;
    want_gradient(*merge);
    add_conv_backward(*level.up_conv, from(level.up), true, true);
    std::vector<Buffer*> uses = merge->reads();
    want_gradient(merge->deep());
    if (level.skip) want_gradient(*level.skip);
    for (Source* source : {(Source*)merge, (Source*)&merge->deep(), (Source*)level.skip}) {
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

size_t Network::scratch_floats() const {
    size_t floats = 4096;
    for (const auto& conv : convs_) floats = std::max(floats, conv->scratch_floats());
    for (const Level& level : levels_) floats = std::max(floats, level.merge->backward_scratch_floats());
    return floats;
}

void Network::bind(Parameters& parameters) {
    for (const auto& binding : bindings_) binding(parameters);
}

void Network::run(const Context& context) {
    for (const auto& conv : convs_) conv->pack_weights(context);
    for (const Operation& operation : operations_) operation(context);
}

}  // namespace dipedge
