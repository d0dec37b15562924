// Every kernel on its own, over whole pictures as the engine drives it: for tests and benchmarks.
// Pictures are [H, W, C] float32; `isa` and `threads` as in _native.Program.
#include "adam/cpu.h"
#include "bindings/arrays.h"
#include "conv_norm_act/cpu.h"
#include "engine/conv.h"
#include "engine/decimate.h"
#include "engine/encoding.h"
#include "engine/parameters.h"
#include "perturb/cpu.h"

namespace dipedge {
namespace {

// What a single operation needs around it: a pool, kernels and scratch.
struct Bench {
    Bench(const std::string& isa, int threads) : pool(threads) {
        context.pool = &pool;
        context.kernels = kernels_for(isa.c_str());
        if (!context.kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
    }
    void place(size_t scratch_floats) {
        context.scratch_floats = scratch_floats + 4096;
        context.scratch = arena.add_persistent(context.scratch_floats * pool.size());
        arena.place();
    }
    ThreadPool pool;
    Arena arena;
    Context context;
};

void fill(const FloatArray& from, const Geometry& size, Buffer* to) {
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::copy_n(from.data() + pixel * size.channels, size.channels, to->data + pixel * size.padded);
    }
}

FloatArray unpadded(const Buffer* from, const Geometry& size) {
    FloatArray array({(py::ssize_t)size.height, (py::ssize_t)size.width, (py::ssize_t)size.channels});
    for (size_t pixel = 0; pixel < size.pixels(); ++pixel) {
        std::copy_n(from->data + pixel * size.padded, size.channels,
                    array.mutable_data() + pixel * size.channels);
    }
    return array;
}

Geometry geometry_of(const FloatArray& picture) {
    if (picture.ndim() != 3) throw std::invalid_argument("a picture must be [H, W, C]");
    return Geometry((int)picture.shape(0), (int)picture.shape(1), (int)picture.shape(2));
}

// A convolution with its buffers, weights set.
struct ConvBench : Bench {
    ConvBench(const FloatArray& x, const FloatArray& weight, int stride, const std::string& padding,
              const std::string& isa, int threads)
        : Bench(isa, threads), source(geometry_of(x)) {
        const int kernel = (int)weight.shape(2), outputs = (int)weight.shape(0);
        source.values = arena.add_persistent(source.size.floats());
        source.d = arena.add_persistent(source.size.floats());
        conv = std::make_unique<Conv>(source, outputs, ConvShape{kernel, stride, padding == "reflection"});
        parameters.add_conv("weight", outputs, kernel, in_order(source.size.channels), conv->depth(),
                            conv->out().padded);
        parameters.allocate(arena);
        y = arena.add_persistent(conv->out().floats());
        partials = arena.add_persistent(conv->partial_floats());
        place(conv->scratch_floats());
        Parameters::write(parameters.all()[0], weight.data(), parameters.values);
        conv->set_parameters(parameters.values->data, parameters.gradients->data);
        fill(x, source.size, source.values);
        conv->pack_weights(context);
    }
    InputSource source;
    Parameters parameters;
    std::unique_ptr<Conv> conv;
    Buffer *y, *partials;
};

FloatArray conv_forward(const FloatArray& x, const FloatArray& weight, const FloatArray& bias, int stride,
                        const std::string& padding, const std::string& isa, int threads) {
    ConvBench bench(x, weight, stride, padding, isa, threads);
    bench.conv->forward(bench.context, bench.y, nullptr);
    const Geometry& out = bench.conv->out();
    FloatArray result = unpadded(bench.y, out);
    const float* added = checked(bias, out.channels, "bias");
    float* values = result.mutable_data();
    for (py::ssize_t i = 0; i < result.size(); ++i) values[i] += added[i % out.channels];
    return result;
}

py::tuple conv_backward(const FloatArray& x, const FloatArray& weight, const FloatArray& dy, int stride,
                        const std::string& padding, const std::string& isa, int threads) {
    ConvBench bench(x, weight, stride, padding, isa, threads);
    const Geometry& out = bench.conv->out();
    checked(dy, out.pixels() * out.channels, "dy");
    fill(dy, out, bench.y);
    bench.conv->backward(bench.context, OutputGradient(bench.y, out), bench.partials, true, true);
    FloatArray dweight(std::vector<py::ssize_t>(weight.shape(), weight.shape() + 4));
    Parameters::read(bench.parameters.all()[0], bench.parameters.gradients, dweight.mutable_data());
    FloatArray dbias = new_array({(py::ssize_t)out.channels});
    std::vector<double> sums(out.channels, 0.0);
    for (py::ssize_t i = 0; i < dy.size(); ++i) sums[i % out.channels] += dy.data()[i];
    std::copy(sums.begin(), sums.end(), dbias.mutable_data());
    return py::make_tuple(unpadded(bench.source.d, bench.source.size), dweight, dbias);
}

FloatArray lanczos_apply(const FloatArray& from, int height, int width, int scale, int lobes, bool adjoint,
                         const std::string& isa, int threads) {
    Bench bench(isa, threads);
    const int channels = (int)from.shape(2);
    const LanczosDecimation decimation(height, width, channels, scale, lobes);
    const int out_height = adjoint ? height : decimation.out_height();
    const int out_width = adjoint ? width : decimation.out_width();
    std::vector<float> workspace(decimation.workspace_floats());
    FloatArray to({out_height, out_width, channels});
    if (adjoint) {
        decimation.adjoint(bench.context, from.data(), workspace.data(), to.mutable_data());
    } else {
        decimation.forward(bench.context, from.data(), workspace.data(), to.mutable_data());
    }
    return to;
}

FloatArray pool_apply(const FloatArray& x, bool maximum, const FloatArray* gradient, const std::string& isa) {
    Bench bench(isa, 1);
    const Geometry in = geometry_of(x);
    const Geometry out((in.height + 1) / 2, (in.width + 1) / 2, in.channels);
    Buffer* from = bench.arena.add_persistent(in.floats());
    Buffer* pooled = bench.arena.add_persistent(out.floats());
    Buffer* spread = bench.arena.add_persistent(in.floats());
    bench.place(0);
    fill(x, in, from);
    if (!gradient) {
        pool_forward(bench.context, in, maximum, from->data, pooled->data);
        return unpadded(pooled, out);
    }
    fill(*gradient, out, pooled);
    pool_adjoint(bench.context, in, maximum, pooled->data, from->data, spread->data);
    return unpadded(spread, in);
}

FloatArray fourier_features(const std::vector<double>& frequencies, int height, int width,
                            const std::string& isa) {
    Bench bench(isa, 1);
    EncodingSpec spec;
    spec.frequencies = frequencies;
    spec.channels = 4 * (int)frequencies.size();
    Encoding encoding(spec, height, width, true, false, bench.arena);
    bench.place(0);
    encoding.forward(bench.context, 0, 0, false);
    FloatArray array({height, width, spec.channels});
    encoding.get_values(array.mutable_data());
    return array;
}

FloatArray normal(uint64_t seed, uint64_t step, size_t count, const std::string& isa) {
    const Bench bench(isa, 1);
    std::vector<float> values((count + 3) / 4 * 4);
    bench.context.kernels->perturb->normal(seed, step, 0, values.size() / 4, values.data());
    return copy_of(values.data(), {(py::ssize_t)count});
}

void adam_update(FloatArray& parameter, const FloatArray& gradient, FloatArray& mean, FloatArray& square,
                 double learning_rate, double beta1, double beta2, double eps, int step,
                 const std::string& isa) {
    const Bench bench(isa, 1);
    if (parameter.size() % channel_block) throw std::invalid_argument("the count must be a multiple of 16");
    const AdamStep constants{(float)(learning_rate / (1 - std::pow(beta1, step))),
                             (float)std::sqrt(1 - std::pow(beta2, step)), (float)beta1, (float)beta2,
                             (float)eps};
    bench.context.kernels->adam->update(constants, parameter.size(), gradient.data(), mean.mutable_data(),
                                        square.mutable_data(), parameter.mutable_data());
}

}  // namespace

void add_kernels(py::module_& module) {
    using namespace py::literals;
    module.def("conv_forward", &conv_forward, "x"_a, "weight"_a, "bias"_a, "stride"_a = 1,
               "padding"_a = "reflection", "isa"_a = "", "threads"_a = 1);
    module.def("conv_backward", &conv_backward, "x"_a, "weight"_a, "dy"_a, "stride"_a = 1,
               "padding"_a = "reflection", "isa"_a = "", "threads"_a = 1);
    module.def("lanczos_weights", [](int scale, int lobes, double phase) {
        return lanczos_weights(scale, lobes, phase != 0.0);
    });
    module.def(
        "lanczos_decimate",
        [](const FloatArray& x, int scale, int lobes, const std::string& isa, int threads) {
            return lanczos_apply(x, (int)x.shape(0), (int)x.shape(1), scale, lobes, false, isa, threads);
        },
        "x"_a, "scale"_a, "lobes"_a = 2, "isa"_a = "", "threads"_a = 1);
    module.def(
        "lanczos_decimate_adjoint",
        [](const FloatArray& g, int height, int width, int scale, int lobes, const std::string& isa,
           int threads) { return lanczos_apply(g, height, width, scale, lobes, true, isa, threads); },
        "g"_a, "height"_a, "width"_a, "scale"_a, "lobes"_a = 2, "isa"_a = "", "threads"_a = 1);
    module.def(
        "pool", [](const FloatArray& x, bool maximum, const std::string& isa) {
            return pool_apply(x, maximum, nullptr, isa);
        },
        "x"_a, "maximum"_a, "isa"_a = "");
    module.def(
        "pool_adjoint", [](const FloatArray& x, const FloatArray& g, bool maximum, const std::string& isa) {
            return pool_apply(x, maximum, &g, isa);
        },
        "x"_a, "g"_a, "maximum"_a, "isa"_a = "");
    module.def("fourier_features", &fourier_features, "frequencies"_a, "height"_a, "width"_a, "isa"_a = "");
    module.def("normal", &normal, "seed"_a, "step"_a, "count"_a, "isa"_a = "");
    module.def("adam_update", &adam_update, py::arg("parameter").noconvert(), "gradient"_a,
               py::arg("mean").noconvert(), py::arg("square").noconvert(), "learning_rate"_a, "beta1"_a,
               "beta2"_a, "eps"_a, "step"_a, "isa"_a = "");
}

}  // namespace dipedge
