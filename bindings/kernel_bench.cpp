#include "bindings/kernel_bench.h"

#include <cstring>

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"

namespace dipedge {

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

std::unique_ptr<KernelBench> make_kernel(const std::string& name, const Inputs& inputs,
                                         const std::string& isa, int threads) {
    static const std::map<std::string, MakeBench> makers = {
        {"adam", &make_adam},
        {"muon", &make_muon},
        {"conv_norm_act", &make_conv_norm_act},
        {"fourier_mlp", &make_fourier_mlp},
        {"lanczos_conv", &make_lanczos_conv},
        {"perturb", &make_perturb},
        {"pool", &make_pool},
        {"residual_loss", &make_residual_loss},
        {"upsample_merge", &make_upsample_merge},
    };
    const auto maker = makers.find(name);
    if (maker == makers.end()) throw std::invalid_argument("no kernel is called '" + name + "'");
    const Kernels* kernels = kernels_for(isa.c_str());
    if (!kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
    return maker->second(inputs, Where{kernels, threads});
}

KernelBench::KernelBench(const Where& where) : pool_(where.threads, where.kernels->prepare_thread) {
    context_.pool = &pool_;
    context_.kernels = where.kernels;
}

void KernelBench::prepare_thread() const {
    if (context_.kernels->prepare_thread) context_.kernels->prepare_thread();
}

void KernelBench::place(size_t scratch_bytes) {
    context_.scratch_bytes = (scratch_bytes + 16384) / 64 * 64;
    context_.scratch = arena_.add_persistent(context_.scratch_bytes / sizeof(float) * pool_.size());
    arena_.place();
}

float as_float(bf16 value) {
    const uint32_t bits = (uint32_t)value.bits << 16;
    float number;
    std::memcpy(&number, &bits, sizeof(number));
    return number;
}

template <>
float rounded<float>(float value) {
    return value;
}

template <>
bf16 rounded<bf16>(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <class Cell>
NormVectors::NormVectors(const FloatArray& gamma, const FloatArray& beta, const Source<Cell>& source,
                         Norm& norm) {
    const int channels = source.size.channels;
    for (auto* vector : {&gamma_, &beta_, &dgamma_, &dbeta_}) vector->assign(source.size.padded, 0.0f);
    for (int c = 0; c < channels; ++c) {
        places_.push_back(source.place_of(c));
        gamma_[places_[c]] = checked(gamma, channels, "gamma")[c];
        beta_[places_[c]] = checked(beta, channels, "beta")[c];
    }
    norm.gamma = gamma_.data();
    norm.beta = beta_.data();
    norm.dgamma = dgamma_.data();
    norm.dbeta = dbeta_.data();
}

template NormVectors::NormVectors(const FloatArray&, const FloatArray&, const Source<float>&, Norm&);
template NormVectors::NormVectors(const FloatArray&, const FloatArray&, const Source<bf16>&, Norm&);

FloatArray NormVectors::described(const std::vector<float>& from) const {
    FloatArray array({(ptrdiff_t)places_.size()});
    for (size_t c = 0; c < places_.size(); ++c) array.mutable_data()[c] = from[places_[c]];
    return array;
}

template <class Cell>
GivenLayer<Cell>::GivenLayer(const Inputs& inputs, const std::string& name, Arena& arena)
    : layer(inputs.picture<Cell>(name), inputs.option("slope", 0.2f), inputs.option("eps", 1e-5f)),
      name_(name),
      vectors_(inputs.array(name + "_gamma"), inputs.array(name + "_beta"), layer, layer.norm),
      y_(inputs.array(name)) {
    layer.y = add_cells<Cell>(arena, layer.size);
    layer.d = add_cells<Cell>(arena, layer.size);
}

// As the convolution that made y would have left them.
template <class Cell>
void GivenLayer<Cell>::take_statistics(const Context& context) {
    fill(y_, layer, layer.y->template as<Cell>());
    layer.norm.clear_sums();
    const Slabs slabs(layer.size);
    for (int slab = 0; slab < slabs.count; ++slab) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            context.of<Cell>().conv->moments(layer.y_row(row), layer.size.padded, layer.size.width,
                                             layer.size.padded, layer.norm.slab_sums(slab));
        }
    }
    layer.norm.finish_forward();
}

template <class Cell>
void GivenLayer<Cell>::gradient_by_y(const Context& context, Cell* to) const {
    const OutputGradient<Cell> gradient(&layer);
    const size_t row_cells = (size_t)layer.size.width * layer.size.padded;
    context.pool->run(layer.size.height, [&](int row, int) {
        gradient.pack(*context.kernels, row, 0, layer.size.width, to + row * row_cells);
    });
}

template <class Cell>
void GivenLayer<Cell>::add_results(Results& to, const Cell* gradient) const {
    to["d" + name_] = unpadded(gradient, layer);
    to["d" + name_ + "_gamma"] = vectors_.gamma_gradient();
    to["d" + name_ + "_beta"] = vectors_.beta_gradient();
}

template <class Cell>
MadeLayer<Cell>::MadeLayer(const Inputs& inputs, const Geometry& size, Arena& arena)
    : layer(size, inputs.option("slope", 0.2f), inputs.option("eps", 1e-5f)) {
    if (inputs.has("gamma")) {
        vectors_ =
            std::make_unique<NormVectors>(inputs.array("gamma"), inputs.array("beta"), layer, layer.norm);
    }
    for (Buffer** picture : {&layer.y, &layer.d, &z_}) *picture = add_cells<Cell>(arena, size);
    if (inputs.has("dz")) {
        dz_ = arena.add_persistent(size.cells());
    } else {
        dy_ = add_cells<Cell>(arena, size);
    }
    gradient_ = inputs.array(dz_ ? "dz" : "dy");
}

template <class Cell>
void MadeLayer<Cell>::fill_gradient() {
    if (dz_) {
        fill(gradient_, layer, dz_->data);
    } else {
        fill(gradient_, layer, dy_->as<Cell>());
    }
}

template <class Cell>
OutputGradient<Cell> MadeLayer<Cell>::gradient(const Context& context) {
    if (dy_) return OutputGradient<Cell>(dy_, layer.size);
    layer.norm.clear_sums();
    const Slabs slabs(layer.size);
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(layer.size.width, [&](int begin, int end) {
                const size_t offset = ((size_t)row * layer.size.width + begin) * layer.size.padded;
                layer.receive(*context.kernels, slab, row, begin, end, dz_->data + offset, layer.size.padded,
                              true, true, Scratch(nullptr));
            });
        }
    });
    layer.norm.finish_backward();
    return OutputGradient<Cell>(&layer);
}

template <class Cell>
void MadeLayer<Cell>::add_results(Results& to, const Context& context) {
    to["y"] = unpadded(layer.y->template as<Cell>(), layer);
    if (!vectors_) return;
    const size_t row_cells = (size_t)layer.size.width * layer.size.padded;
    for (int row = 0; row < layer.size.height; ++row) {
        layer.pack(*context.kernels, row, 0, layer.size.width, 1, z_->as<Cell>() + row * row_cells,
                   layer.size.padded, Scratch(nullptr));
    }
    to["z"] = unpadded(z_->as<Cell>(), layer);
    to["dgamma"] = vectors_->gamma_gradient();
    to["dbeta"] = vectors_->beta_gradient();
}

template class GivenLayer<float>;
template class GivenLayer<bf16>;
template class MadeLayer<float>;
template class MadeLayer<bf16>;

}  // namespace dipedge
