// The kernels over flat arrays: adam, muon and perturb.
#include <algorithm>
#include <cmath>

#include "adam/cpu.h"
#include "bindings/kernel_bench.h"
#include "engine/encoding.h"
#include "engine/optimiser.h"
#include "perturb/cpu.h"

namespace dipedge {
namespace {

// One update of "parameter" by "gradient" at step number "step"; repeated, it goes on with the same number.
class Adam : public KernelBench {
  public:
    Adam(const Inputs& inputs, const Where& where)
        : KernelBench(where), count_(inputs.array("parameter").size()) {
        const double beta1 = inputs.option("beta1", 0.9), beta2 = inputs.option("beta2", 0.999);
        const int number = inputs.option("step", 1);
        step_ = {(float)(inputs.option("learning_rate", 0.01) / (1 - std::pow(beta1, number))),
                 (float)std::sqrt(1 - std::pow(beta2, number)),
                 (float)beta2,
                 (float)(1 - beta1),
                 (float)(1 - beta2),
                 (float)inputs.option("eps", 1e-8)};
        const size_t padded =
            (count_ + channel_block<float> - 1) / channel_block<float> * channel_block<float>;
        for (Buffer*& array : arrays_) array = arena_.add_persistent(padded);
        place(0);
        for (int i = 0; i < 4; ++i) {
            std::copy_n(inputs.vector(names[i], count_).data(), count_, arrays_[i]->data);
        }
    }

    // Shared out as in engine/program.cpp.
    void forward() override {
        const size_t floats = arrays_[0]->floats, parts = 16;
        const size_t share =
            (floats / parts + channel_block<float>) / channel_block<float> * channel_block<float>;
        pool_.run((int)parts, [&](int part, int) {
            const size_t begin = std::min(part * share, floats), end = std::min(begin + share, floats);
            context_.kernels->adam->update(step_, end - begin, arrays_[0]->data + begin,
                                           arrays_[1]->data + begin, arrays_[2]->data + begin,
                                           arrays_[3]->data + begin);
        });
    }

    Results results() override {
        Results found;
        for (int i = 1; i < 4; ++i) found[names[i]] = copy_of(arrays_[i]->data, {(ptrdiff_t)count_});
        return found;
    }

  private:
    static constexpr const char* names[4] = {"gradient", "mean", "square", "parameter"};
    size_t count_;
    AdamStep step_;
    Buffer* arrays_[4];
};

// One Muon step of "parameter" [O, I, k, k] by "gradient", from "mean"; "copies" equal matrices are updated
// together, as a net has them. Repeated, it goes on.
class MuonUpdate : public KernelBench {
  public:
    MuonUpdate(const Inputs& inputs, const Where& where) : KernelBench(where) {
        const FloatArray& weight = inputs.array("parameter");
        if (weight.ndim() != 4) throw std::invalid_argument("parameter must be [O, I, k, k]");
        const int outputs = (int)weight.shape(0), into = (int)weight.shape(1);
        const int padded = Geometry(1, 1, outputs, channel_block<float>).padded;
        for (int copy = 0; copy < inputs.option("copies", 1); ++copy) {
            parameters_.add_conv("matrix" + std::to_string(copy), outputs, (int)weight.shape(2),
                                 in_order(into), into, padded);
        }
        parameters_.allocate(arena_);
        place(0);
        for (const Parameter& matrix : parameters_.all()) {
            Parameters::write(matrix, weight.data(), parameters_.values);
            Parameters::write(matrix, inputs.vector("gradient", matrix.count()).data(),
                              parameters_.gradients);
            Parameters::write(matrix, inputs.vector("mean", matrix.count()).data(), parameters_.means);
        }
        OptimiserSpec spec;
        spec.muon_rate = inputs.option("learning_rate", 0.03);
        spec.momentum = inputs.option("momentum", 0.97);
        optimiser_ = std::make_unique<Optimiser>(spec, parameters_);
        shape_ = weight.shape();
    }

    void forward() override { optimiser_->step(context_, 1); }

    Results results() override {
        Results found;
        FloatArray parameter(shape_), mean(shape_);
        Parameters::read(parameters_.all()[0], parameters_.values, parameter.mutable_data());
        Parameters::read(parameters_.all()[0], parameters_.means, mean.mutable_data());
        found["parameter"] = parameter;
        found["mean"] = mean;
        return found;
    }

  private:
    Parameters parameters_;
    std::unique_ptr<Optimiser> optimiser_;
    std::vector<ptrdiff_t> shape_;
};

// z [H, W, C] with the noise of (seed, step) added.
class Perturb : public KernelBench {
  public:
    Perturb(const Inputs& inputs, const Where& where)
        : KernelBench(where),
          seed_(inputs.option<uint64_t>("seed", 0)),
          step_(inputs.option<uint64_t>("step", 0)) {
        const Geometry size = inputs.picture<float>("z");
        EncodingSpec spec;
        spec.channels = size.channels;
        spec.perturbation = inputs.option("sigma", 0.03f);
        encoding_ = std::make_unique<Encoding<float>>(spec, size.height, size.width, true, false, arena_);
        place((size_t)64 * size.padded * sizeof(float));  // noise is drawn for 64 pixels at a time
        encoding_->set_values(inputs.array("z").data());
    }
    void forward() override { encoding_->forward(context_, seed_, step_, true); }
    Results results() override {
        Results found;
        found["z"] = unpadded(encoding_->source().values->data, encoding_->source());
        return found;
    }

  private:
    uint64_t seed_, step_;
    std::unique_ptr<Encoding<float>> encoding_;
};

}  // namespace

FloatArray fourier_features(const std::vector<double>& frequencies, int height, int width) {
    ThreadPool pool(1);
    Context context;
    context.pool = &pool;
    context.kernels = kernels_for(nullptr);
    EncodingSpec spec;
    spec.frequencies = frequencies;
    spec.channels = 4 * (int)frequencies.size();
    Arena arena;
    Encoding<float> encoding(spec, height, width, true, false, arena);
    arena.place();
    encoding.forward(context, 0, 0, false);
    FloatArray array({height, width, spec.channels});
    encoding.get_values(array.mutable_data());
    return array;
}

FloatArray normal(uint64_t seed, uint64_t step, size_t count, const std::string& isa) {
    const Kernels* kernels = kernels_for(isa.c_str());
    if (!kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
    std::vector<float> values((count + 3) / 4 * 4);
    kernels->perturb->normal(seed, step, 0, values.size() / 4, values.data());
    return copy_of(values.data(), {(ptrdiff_t)count});
}

std::unique_ptr<KernelBench> make_adam(const Inputs& inputs, const Where& where) {
    return std::make_unique<Adam>(inputs, where);
}

std::unique_ptr<KernelBench> make_muon(const Inputs& inputs, const Where& where) {
    return std::make_unique<MuonUpdate>(inputs, where);
}

std::unique_ptr<KernelBench> make_perturb(const Inputs& inputs, const Where& where) {
    return std::make_unique<Perturb>(inputs, where);
}

}  // namespace dipedge
