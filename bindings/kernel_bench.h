// One kernel with its buffers, driven over a whole picture as the engine drives it: _native.Kernel, and what
// tests/neon/check.cpp runs where there is no Python.
// Pictures are [H, W, C] float32, convolution weights [O, I, k, k], vectors [C], as everywhere in Python.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "bindings/arrays.h"
#include "bindings/options.h"
#include "engine/conv.h"

namespace dipedge {

// The arrays and options a kernel was asked for, by name; a missing one is an error with its name.
class Inputs {
  public:
    Inputs(std::map<std::string, FloatArray> arrays, Options options)
        : arrays_(std::move(arrays)), options_(std::move(options)) {}

    bool has(const std::string& name) const { return arrays_.count(name) != 0; }
    const FloatArray& array(const std::string& name) const;
    const FloatArray& vector(const std::string& name, size_t count) const;

    // The size of a [H, W, C] array as a picture of cells.
    template <class Cell>
    Geometry picture(const std::string& name) const {
        const FloatArray& found = array(name);
        if (found.ndim() != 3) throw std::invalid_argument(name + " must be a picture [H, W, C]");
        return Geometry((int)found.shape(0), (int)found.shape(1), (int)found.shape(2), channel_block<Cell>);
    }

    template <class Value>
    Value option(const char* name, Value otherwise) const {
        return options_.get(name, otherwise);
    }

  private:
    std::map<std::string, FloatArray> arrays_;
    Options options_;
};

// What a kernel made, by name.
struct Results {
    std::map<std::string, FloatArray> arrays;
    std::map<std::string, double> numbers;

    FloatArray& operator[](const std::string& name) { return arrays[name]; }
};

// Who computes, with how many threads.
struct Where {
    const Kernels* kernels;
    int threads;
};

// What every kernel needs around it. forward() and backward() may be repeated, allocate nothing,
// so they can be timed; backward() follows a forward().
class KernelBench {
  public:
    explicit KernelBench(const Where& where);
    virtual ~KernelBench() = default;
    void prepare_thread() const;  // what the calling thread must do before the two
    virtual void forward() = 0;
    virtual void backward() {}
    virtual Results results() = 0;  // copies of everything, zeros where nothing has been computed

  protected:
    void place(size_t scratch_bytes);  // takes the memory of all buffers; scratch is per worker

    ThreadPool pool_;
    Arena arena_;
    Context context_;
};

// Option "bf16" keeps the layers as the engine does in that precision; pictures come and go as float32.
template <template <class> class Bench>
std::unique_ptr<KernelBench> make_with_cells(const Inputs& inputs, const Where& where) {
    if (!inputs.option("bf16", false)) return std::make_unique<Bench<float>>(inputs, where);
    if (!where.kernels->has_bf16()) {
        throw std::invalid_argument(std::string("instruction set '") + where.kernels->isa +
                                    "' does not multiply bf16");
    }
    return std::make_unique<Bench<bf16>>(inputs, where);
}

// The kernel of that name. Throws std::invalid_argument for one that is unknown, for an instruction set
// that cannot run here, and for arrays and options that do not fit.
std::unique_ptr<KernelBench> make_kernel(const std::string& name, const Inputs& inputs,
                                         const std::string& isa, int threads);

// Features [H, W, 4 n] of n frequencies, as a program without tables makes them.
FloatArray fourier_features(const std::vector<double>& frequencies, int height, int width);

// The first `count` normal values of (seed, step).
FloatArray normal(uint64_t seed, uint64_t step, size_t count, const std::string& isa);

using MakeBench = std::unique_ptr<KernelBench> (*)(const Inputs&, const Where&);
std::unique_ptr<KernelBench> make_conv_norm_act(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_upsample_merge(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_residual_loss(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_fourier_mlp(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_pool(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_lanczos_conv(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_decimation(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_perturb(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_adam(const Inputs& inputs, const Where& where);
std::unique_ptr<KernelBench> make_muon(const Inputs& inputs, const Where& where);

inline float as_float(float value) { return value; }
float as_float(bf16 value);
template <class Number>
Number rounded(float value);  // to the nearest, ties to even

// Between arrays [H, W, C] and pictures of numbers, laid out as `places` says.
template <class Cell, class Number>
void fill(const FloatArray& from, const Source<Cell>& places, Number* to) {
    const Geometry& size = places.size;
    const float* value = checked(from, size.pixels() * size.channels, "a picture");
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        for (int c = 0; c < size.channels; ++c) {
            to[pixel * size.padded + places.place_of(c)] = rounded<Number>(*value++);
        }
    }
}

template <class Number, class Cell>
FloatArray unpadded(const Number* from, const Source<Cell>& places) {
    const Geometry& size = places.size;
    FloatArray array({size.height, size.width, size.channels});
    float* value = array.mutable_data();
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        for (int c = 0; c < size.channels; ++c) {
            *value++ = as_float(from[pixel * size.padded + places.place_of(c)]);
        }
    }
    return array;
}

// gamma and beta of a batch norm with their gradients, in the source's order of channels.
class NormVectors {
  public:
    template <class Cell>
    NormVectors(const FloatArray& gamma, const FloatArray& beta, const Source<Cell>& source, Norm& norm);
    FloatArray gamma_gradient() const { return described(dgamma_); }
    FloatArray beta_gradient() const { return described(dbeta_); }

  private:
    FloatArray described(const std::vector<float>& from) const;
    std::vector<int> places_;
    std::vector<float> gamma_, beta_, dgamma_, dbeta_;
};

// A layer whose y is given, with the statistics of that y: what a convolution or a merge reads.
template <class Cell>
class GivenLayer {
  public:
    GivenLayer(const Inputs& inputs, const std::string& name, Arena& arena);
    void take_statistics(const Context& context);
    // The gradient by y, once the layer's `d` and norm are finished, into a [height, width, padded] picture.
    void gradient_by_y(const Context& context, Cell* to) const;
    void add_results(Results& to, const Cell* gradient) const;

    Layer<Cell> layer;

  private:
    std::string name_;
    NormVectors vectors_;
    FloatArray y_;
};

// The layer that a convolution under test writes: plain (given "dy", the gradient by its y), or with a
// batch norm and LeakyReLU behind it (given "gamma", "beta", and "dz", the gradient by their result).
template <class Cell>
class MadeLayer {
  public:
    MadeLayer(const Inputs& inputs, const Geometry& size, Arena& arena);
    void fill_gradient();  // once the arena is placed
    Norm* norm() { return vectors_ ? &layer.norm : nullptr; }
    OutputGradient<Cell> gradient(const Context& context);  // with the norm's own backward done
    void add_results(Results& to, const Context& context);

    Layer<Cell> layer;

  private:
    std::unique_ptr<NormVectors> vectors_;
    FloatArray gradient_;
    Buffer *dy_ = nullptr, *dz_ = nullptr;  // one of them, cells or floats
    Buffer* z_;
};

// A buffer of cells that stays.
template <class Cell>
Buffer* add_cells(Arena& arena, const Geometry& size) {
    return arena.add_persistent((size.cells() * sizeof(Cell) + sizeof(float) - 1) / sizeof(float));
}

}  // namespace dipedge
