// One kernel with its buffers, driven over a whole picture as the engine drives it: _native.Kernel.
// Pictures are [H, W, C] float32, convolution weights [O, I, k, k], vectors [C], as everywhere in Python.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "bindings/arrays.h"
#include "engine/conv.h"

namespace dipedge {

// The arrays and options a kernel was asked for, by name; a missing one is an error with its name.
class Inputs {
  public:
    Inputs(const py::dict& arrays, const py::dict& options);

    bool has(const std::string& name) const { return arrays_.count(name) != 0; }
    const FloatArray& array(const std::string& name) const;
    const FloatArray& vector(const std::string& name, size_t count) const;
    Geometry picture(const std::string& name) const;  // the size of a [H, W, C] array

    template <class Value>
    Value option(const char* name, Value otherwise) const {
        return options_.contains(name) ? options_[name].cast<Value>() : otherwise;
    }

  private:
    std::map<std::string, FloatArray> arrays_;
    py::dict options_;
};

// What every kernel needs around it. forward() and backward() may be repeated, touch no Python object
// and allocate nothing, so they can be timed; backward() follows a forward().
class KernelBench {
  public:
    KernelBench(const std::string& isa, int threads);
    virtual ~KernelBench() = default;
    virtual void forward() = 0;
    virtual void backward() {}
    virtual py::dict results() = 0;  // copies of everything, zeros where nothing has been computed

  protected:
    void place(size_t scratch_bytes);  // takes the memory of all buffers; scratch is per worker

    ThreadPool pool_;
    Arena arena_;
    Context context_;
};

// Which instruction set and how many threads.
struct Where {
    std::string isa;
    int threads;
};

using MakeBench = std::unique_ptr<KernelBench> (*)(const Inputs&, const Where&);
std::unique_ptr<KernelBench> make_conv_norm_act(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_upsample_merge(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_residual_loss(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_fourier_mlp(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_pool(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_lanczos_conv(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_perturb(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_adam(const Inputs& inputs, const Where& where);

// Between arrays [H, W, C] and pictures with padded channels; `places` gives a channel's position there.
void fill(const FloatArray& from, const Geometry& size, Buffer* to);
void fill(const FloatArray& from, const Source<float>& places, Buffer* to);
FloatArray unpadded(const Buffer* from, const Geometry& size);
FloatArray unpadded(const Buffer* from, const Source<float>& places);

// gamma and beta of a batch norm with their gradients, in the source's order of channels.
class NormVectors {
  public:
    NormVectors(const FloatArray& gamma, const FloatArray& beta, const Source<float>& source, Norm& norm);
    FloatArray gamma_gradient() const { return described(dgamma_); }
    FloatArray beta_gradient() const { return described(dbeta_); }

  private:
    FloatArray described(const std::vector<float>& from) const;
    const Source<float>& source_;
    std::vector<float> gamma_, beta_, dgamma_, dbeta_;
};

// A layer whose y is given, with the statistics of that y: what a convolution or a merge reads.
class GivenLayer {
  public:
    GivenLayer(const Inputs& inputs, const std::string& name, Arena& arena);
    void take_statistics(const Context& context);
    // The gradient by y, once the layer's `d` and norm are finished, into a [height, width, padded] picture.
    void gradient_by_y(const Context& context, Buffer* to) const;
    void add_results(py::dict& to, const Buffer* gradient) const;

    Layer<float> layer;

  private:
    std::string name_;
    NormVectors vectors_;
    FloatArray y_;
};

// The layer that a convolution under test writes: plain (given "dy", the gradient by its y), or with a
// batch norm and LeakyReLU behind it (given "gamma", "beta", and "dz", the gradient by their result).
class MadeLayer {
  public:
    MadeLayer(const Inputs& inputs, const Geometry& size, Arena& arena);
    void fill_gradient();  // once the arena is placed
    Norm* norm() { return vectors_ ? &layer.norm : nullptr; }
    OutputGradient<float> gradient(const Context& context);  // with the norm's own backward done
    void add_results(py::dict& to, const Context& context);

    Layer<float> layer;

  private:
    std::unique_ptr<NormVectors> vectors_;
    bool behind_norm_;
    FloatArray gradient_;
    Buffer *given_, *z_;
};

}  // namespace dipedge
