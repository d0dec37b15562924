#include "bindings/kernel_bench.h"

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"

namespace dipedge {

Inputs::Inputs(const py::dict& arrays, const py::dict& options) : options_(options) {
    for (const auto& [name, values] : arrays) {
        arrays_.emplace(name.cast<std::string>(), values.cast<FloatArray>());
    }
}

const FloatArray& Inputs::array(const std::string& name) const {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) throw std::invalid_argument("this kernel needs an array '" + name + "'");
    return found->second;
}

const FloatArray& Inputs::vector(const std::string& name, size_t count) const {
    const FloatArray& found = array(name);
    checked(found, count, name.c_str());
    return found;
}

Geometry Inputs::picture(const std::string& name) const {
    const FloatArray& found = array(name);
    if (found.ndim() != 3) throw std::invalid_argument(name + " must be a picture [H, W, C]");
    return Geometry((int)found.shape(0), (int)found.shape(1), (int)found.shape(2), channel_block<float>);
}

KernelBench::KernelBench(const std::string& isa, int threads) : pool_(threads) {
    context_.pool = &pool_;
    context_.kernels = kernels_for(isa.c_str());
    if (!context_.kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
}

void KernelBench::place(size_t scratch_bytes) {
    context_.scratch_bytes = (scratch_bytes + 16384) / 64 * 64;
    context_.scratch = arena_.add_persistent(context_.scratch_bytes / sizeof(float) * pool_.size());
    arena_.place();
}

void fill(const FloatArray& from, const Geometry& size, Buffer* to) { fill(from, InputSource<float>(size), to); }

void fill(const FloatArray& from, const Source<float>& places, Buffer* to) {
    const Geometry& size = places.size;
    const float* value = checked(from, size.pixels() * size.channels, "a picture");
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        for (int c = 0; c < size.channels; ++c) {
            to->data[pixel * size.padded + places.place_of(c)] = *value++;
        }
    }
}

FloatArray unpadded(const Buffer* from, const Geometry& size) { return unpadded(from, InputSource<float>(size)); }

FloatArray unpadded(const Buffer* from, const Source<float>& places) {
    const Geometry& size = places.size;
    FloatArray array = new_array({size.height, size.width, size.channels});
    float* value = array.mutable_data();
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        for (int c = 0; c < size.channels; ++c) {
            *value++ = from->data[pixel * size.padded + places.place_of(c)];
        }
    }
    return array;
}

NormVectors::NormVectors(const FloatArray& gamma, const FloatArray& beta, const Source<float>& source, Norm& norm)
    : source_(source) {
    const int channels = source.size.channels;
    for (auto* vector : {&gamma_, &beta_, &dgamma_, &dbeta_}) vector->assign(source.size.padded, 0.0f);
    for (int c = 0; c < channels; ++c) {
        gamma_[source.place_of(c)] = checked(gamma, channels, "gamma")[c];
        beta_[source.place_of(c)] = checked(beta, channels, "beta")[c];
    }
    norm.gamma = gamma_.data();
    norm.beta = beta_.data();
    norm.dgamma = dgamma_.data();
    norm.dbeta = dbeta_.data();
}

FloatArray NormVectors::described(const std::vector<float>& from) const {
    FloatArray array = new_array({source_.size.channels});
    for (int c = 0; c < source_.size.channels; ++c) array.mutable_data()[c] = from[source_.place_of(c)];
    return array;
}

GivenLayer::GivenLayer(const Inputs& inputs, const std::string& name, Arena& arena)
    : layer(inputs.picture(name), inputs.option("slope", 0.2f), inputs.option("eps", 1e-5f)),
      name_(name),
      vectors_(inputs.array(name + "_gamma"), inputs.array(name + "_beta"), layer, layer.norm),
      y_(inputs.array(name)) {
    layer.y = arena.add_persistent(layer.size.cells());
    layer.d = arena.add_persistent(layer.size.cells());
}

// As the convolution that made y would have left them.
void GivenLayer::take_statistics(const Context& context) {
    fill(y_, layer.size, layer.y);
    layer.norm.clear_sums();
    const Slabs slabs(layer.size);
    for (int slab = 0; slab < slabs.count; ++slab) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            context.kernels->fp32.conv->moments(layer.y_row(row), layer.size.padded, layer.size.width,
                                           layer.size.padded, layer.norm.slab_sums(slab));
        }
    }
    layer.norm.finish_forward();
}

void GivenLayer::gradient_by_y(const Context& context, Buffer* to) const {
    const OutputGradient<float> gradient(&layer);
    const size_t row_floats = (size_t)layer.size.width * layer.size.padded;
    context.pool->run(layer.size.height, [&](int row, int) {
        gradient.pack(*context.kernels, row, 0, layer.size.width, to->data + row * row_floats);
    });
}

void GivenLayer::add_results(py::dict& to, const Buffer* gradient) const {
    to[("d" + name_).c_str()] = unpadded(gradient, layer.size);
    to[("d" + name_ + "_gamma").c_str()] = vectors_.gamma_gradient();
    to[("d" + name_ + "_beta").c_str()] = vectors_.beta_gradient();
}

MadeLayer::MadeLayer(const Inputs& inputs, const Geometry& size, Arena& arena)
    : layer(size, inputs.option("slope", 0.2f), inputs.option("eps", 1e-5f)), behind_norm_(inputs.has("dz")) {
    if (inputs.has("gamma")) {
        vectors_ =
            std::make_unique<NormVectors>(inputs.array("gamma"), inputs.array("beta"), layer, layer.norm);
    }
    gradient_ = inputs.array(behind_norm_ ? "dz" : "dy");
    for (Buffer** picture : {&layer.y, &layer.d, &given_, &z_})
        *picture = arena.add_persistent(size.cells());
}

void MadeLayer::fill_gradient() { fill(gradient_, layer.size, given_); }

OutputGradient<float> MadeLayer::gradient(const Context& context) {
    if (!behind_norm_) return OutputGradient<float>(given_, layer.size);
    layer.norm.clear_sums();
    const Slabs slabs(layer.size);
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(layer.size.width, [&](int begin, int end) {
                const size_t offset = ((size_t)row * layer.size.width + begin) * layer.size.padded;
                layer.receive(*context.kernels, slab, row, begin, end, given_->data + offset,
                              layer.size.padded, true, true, Scratch(nullptr));
            });
        }
    });
    layer.norm.finish_backward();
    return OutputGradient<float>(&layer);
}

void MadeLayer::add_results(py::dict& to, const Context& context) {
    to["y"] = unpadded(layer.y, layer.size);
    if (!vectors_) return;
    const size_t row_floats = (size_t)layer.size.width * layer.size.padded;
    for (int row = 0; row < layer.size.height; ++row) {
        layer.pack(*context.kernels, row, 0, layer.size.width, 1, z_->data + row * row_floats,
                   layer.size.padded, Scratch(nullptr));
    }
    to["z"] = unpadded(z_, layer.size);
    to["dgamma"] = vectors_->gamma_gradient();
    to["dbeta"] = vectors_->beta_gradient();
}

}  // namespace dipedge
