// The kernels that convolve: conv_norm_act and lanczos_conv over a plain picture or a layer, and fourier_mlp.
#include "bindings/kernel_bench.h"
#include "engine/decimated_conv.h"
#include "engine/encoding.h"
#include "engine/fourier_conv.h"
#include "engine/parameters.h"

namespace dipedge {
namespace {

// The weights of one convolution, and their gradient, among the flat arrays.
template <class Cell>
class Weights {
  public:
    Weights(const FloatArray& weight, Conv<Cell>& conv, Arena& arena) : weight_(weight), conv_(conv) {
        const auto inputs = in_order(conv.source().size.channels);
        parameters_.add_conv("weight", conv.out().channels, conv.shape().kernel, inputs, conv.depth(),
                             conv.out().padded);
        parameters_.allocate(arena);
    }
    void fill() {
        checked(weight_, parameters_.all()[0].count(), "weight");
        Parameters::write(parameters_.all()[0], weight_.data(), parameters_.values);
        conv_.set_parameters(parameters_.values->data, parameters_.gradients->data);
    }
    FloatArray gradient() const {
        FloatArray array(weight_.shape());
        Parameters::read(parameters_.all()[0], parameters_.gradients, array.mutable_data());
        return array;
    }

  private:
    FloatArray weight_;
    Conv<Cell>& conv_;
    Parameters parameters_;
};

const FloatArray& weight_of(const Inputs& inputs) {
    const FloatArray& weight = inputs.array("weight");
    if (weight.ndim() != 4) throw std::invalid_argument("weight must be [O, I, k, k]");
    return weight;
}

// The decimation behind a convolution: option "scale" with "lobes" (0: averages), or none.
template <class Cell>
std::unique_ptr<Conv<Cell>> make_conv(const Inputs& inputs, Source<Cell>& source, int outputs, int kernel) {
    const bool reflect = inputs.option<std::string>("padding", "reflection") == "reflection";
    const int scale = inputs.option("scale", 1), lobes = inputs.option("lobes", 2);
    if (scale == 1) {
        return std::make_unique<Conv<Cell>>(source, outputs,
                                            ConvShape{kernel, inputs.option("stride", 1), reflect});
    }
    const DecimationFilter filter = lobes == 0 ? average_filter() : lanczos_filter(scale, lobes);
    return std::make_unique<DecimatedConv<Cell>>(source, outputs, kernel, reflect, filter);
}

// x is a plain picture, or with x_gamma and x_beta a layer that is normalised and activated when read.
template <class Cell>
class ConvNormAct : public KernelBench {
  public:
    ConvNormAct(const Inputs& inputs, const Where& where) : KernelBench(where) {
        const FloatArray& weight = weight_of(inputs);
        if (inputs.has("x_gamma")) {
            layer_ = std::make_unique<GivenLayer<Cell>>(inputs, "x", arena_);
        } else {
            plain_ = std::make_unique<InputSource<Cell>>(inputs.picture<Cell>("x"));
            plain_->values = arena_.add_persistent(plain_->size.cells());
            plain_->d = arena_.add_persistent(plain_->size.cells());
        }
        Source<Cell>& source = layer_ ? (Source<Cell>&)layer_->layer : *plain_;
        conv_ = make_conv(inputs, source, (int)weight.shape(0), (int)weight.shape(2));
        weights_ = std::make_unique<Weights<Cell>>(weight, *conv_, arena_);
        made_ = std::make_unique<MadeLayer<Cell>>(inputs, conv_->out(), arena_);
        partials_ = arena_.add_persistent(conv_->partial_floats());
        gradient_by_x_ = add_cells<Cell>(arena_, source.size);
        place(conv_->scratch_bytes());
        weights_->fill();
        made_->fill_gradient();
        if (layer_) {
            layer_->take_statistics(context_);
        } else {
            fill(inputs.array("x"), *plain_, plain_->values->data);
        }
    }

    void forward() override {
        conv_->pack_weights(context_);
        conv_->forward(context_, made_->layer.y, made_->norm());
    }

    void backward() override { conv_->backward(context_, made_->gradient(context_), partials_, true, true); }

    Results results() override {
        Results found;
        found["dweight"] = weights_->gradient();
        made_->add_results(found, context_);
        if (layer_) {
            layer_->gradient_by_y(context_, gradient_by_x_->as<Cell>());
            layer_->add_results(found, gradient_by_x_->as<Cell>());
        } else {
            found["dx"] = unpadded(plain_->d->data, *plain_);
        }
        return found;
    }

  private:
    std::unique_ptr<GivenLayer<Cell>> layer_;
    std::unique_ptr<InputSource<Cell>> plain_;
    std::unique_ptr<Conv<Cell>> conv_;
    std::unique_ptr<Weights<Cell>> weights_;
    std::unique_ptr<MadeLayer<Cell>> made_;
    Buffer *partials_, *gradient_by_x_;
};

// The 1x1 layer of Fourier features that are never made; the frequencies' gradient with "learned".
template <class Cell>
class FourierMlp : public KernelBench {
  public:
    FourierMlp(const Inputs& inputs, const Where& where)
        : KernelBench(where), frequencies_(inputs.array("frequencies")) {
        EncodingSpec spec;
        spec.frequencies.assign(frequencies_.data(), frequencies_.data() + frequencies_.size());
        spec.channels = 4 * (int)spec.frequencies.size();
        spec.learned = inputs.option("learned", true);
        dfrequencies_.resize(spec.frequencies.size());
        encoding_ = std::make_unique<Encoding<Cell>>(spec, inputs.option("height", 1),
                                                     inputs.option("width", 1), false, spec.learned, arena_);
        if (spec.learned) encoding_->set_frequencies(frequencies_.data(), dfrequencies_.data());
        const FloatArray& weight = weight_of(inputs);
        conv_ =
            std::make_unique<FourierConv<Cell>>(*encoding_, (int)weight.shape(0), inputs.option("stride", 1));
        weights_ = std::make_unique<Weights<Cell>>(weight, *conv_, arena_);
        made_ = std::make_unique<MadeLayer<Cell>>(inputs, conv_->out(), arena_);
        partials_ = arena_.add_persistent(conv_->partial_floats());
        place(conv_->scratch_bytes());
        weights_->fill();
        made_->fill_gradient();
    }

    void forward() override {
        encoding_->forward(context_, 0, 0, false);
        conv_->pack_weights(context_);
        conv_->forward(context_, made_->layer.y, made_->norm());
    }

    void backward() override {
        conv_->backward(context_, made_->gradient(context_), partials_, true, true);
        encoding_->backward(context_);
    }

    Results results() override {
        Results found;
        found["dweight"] = weights_->gradient();
        found["dfrequencies"] = copy_of(dfrequencies_.data(), {(ptrdiff_t)dfrequencies_.size()});
        made_->add_results(found, context_);
        return found;
    }

  private:
    FloatArray frequencies_;
    std::vector<float> dfrequencies_;
    std::unique_ptr<Encoding<Cell>> encoding_;
    std::unique_ptr<FourierConv<Cell>> conv_;
    std::unique_ptr<Weights<Cell>> weights_;
    std::unique_ptr<MadeLayer<Cell>> made_;
    Buffer* partials_;
};

}  // namespace

std::unique_ptr<KernelBench> make_conv_norm_act(const Inputs& inputs, const Where& where) {
    return make_with_cells<ConvNormAct>(inputs, where);
}

std::unique_ptr<KernelBench> make_lanczos_conv(const Inputs& inputs, const Where& where) {
    return inputs.has("weight") ? make_with_cells<ConvNormAct>(inputs, where)
                                : make_decimation(inputs, where);
}

std::unique_ptr<KernelBench> make_fourier_mlp(const Inputs& inputs, const Where& where) {
    return make_with_cells<FourierMlp>(inputs, where);
}

}  // namespace dipedge
