// Kernels on their own: the class _native.Kernel, and functions over numpy arrays for golden files.
#include "bindings/arrays.h"
#include "bindings/kernel_bench.h"
#include "engine/decimate.h"
#include "engine/encoding.h"
#include "perturb/cpu.h"

namespace dipedge {
namespace {

const std::map<std::string, MakeBench> makers = {
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

std::unique_ptr<KernelBench> make_kernel(const std::string& name, const py::dict& arrays,
                                         const py::dict& options, const std::string& isa, int threads) {
    const auto maker = makers.find(name);
    if (maker == makers.end()) throw std::invalid_argument("no kernel is called '" + name + "'");
    const Kernels* kernels = kernels_for(isa.c_str());
    if (!kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
    return maker->second(Inputs(arrays, options), Where{kernels, threads});
}

// A reflection-padded convolution with its bias, decimated by Lanczos. The filter's weights sum to 1, so a bias
// passes it unchanged, and its gradient is the sum of dy.
FloatArray lanczos_conv_forward(const FloatArray& x, const FloatArray& weight, const FloatArray& bias,
                                int scale, int lobes, const std::string& isa, int threads) {
    using namespace py::literals;
    const py::ssize_t height = (x.shape(0) + scale - 1) / scale, width = (x.shape(1) + scale - 1) / scale;
    const FloatArray no_gradient = py::array_t<float>({height, width, weight.shape(0)});
    const auto kernel =
        make_kernel("lanczos_conv", py::dict("x"_a = x, "weight"_a = weight, "dy"_a = no_gradient),
                    py::dict("scale"_a = scale, "lobes"_a = lobes), isa, threads);
    kernel->prepare_thread();
    kernel->forward();
    FloatArray y = kernel->results()["y"].cast<FloatArray>();
    const float* added = checked(bias, weight.shape(0), "bias");
    float* values = y.mutable_data();
    for (py::ssize_t i = 0; i < y.size(); ++i) values[i] += added[i % bias.size()];
    return y;
}

py::tuple lanczos_conv_backward(const FloatArray& x, const FloatArray& weight, const FloatArray& dy,
                                int scale, int lobes, const std::string& isa, int threads) {
    using namespace py::literals;
    const auto kernel = make_kernel("lanczos_conv", py::dict("x"_a = x, "weight"_a = weight, "dy"_a = dy),
                                    py::dict("scale"_a = scale, "lobes"_a = lobes), isa, threads);
    kernel->prepare_thread();
    kernel->forward();
    kernel->backward();
    const py::dict found = kernel->results();
    const py::ssize_t outputs = weight.shape(0);
    std::vector<double> sums(outputs, 0.0);
    for (py::ssize_t i = 0; i < dy.size(); ++i) sums[i % outputs] += dy.data()[i];
    FloatArray dbias = new_array({outputs});
    std::copy(sums.begin(), sums.end(), dbias.mutable_data());
    return py::make_tuple(found["dx"], found["dweight"], dbias);
}

FloatArray lanczos_decimate(const FloatArray& x, int scale, int lobes, const std::string& isa, int threads) {
    using namespace py::literals;
    const py::ssize_t height = (x.shape(0) + scale - 1) / scale, width = (x.shape(1) + scale - 1) / scale;
    const FloatArray no_gradient = py::array_t<float>({height, width, x.shape(2)});
    const auto kernel = make_kernel("lanczos_conv", py::dict("x"_a = x, "dy"_a = no_gradient),
                                    py::dict("scale"_a = scale, "lobes"_a = lobes), isa, threads);
    kernel->forward();
    return kernel->results()["y"].cast<FloatArray>();
}

FloatArray lanczos_decimate_adjoint(const FloatArray& g, py::ssize_t height, py::ssize_t width, int scale,
                                    int lobes, const std::string& isa, int threads) {
    using namespace py::literals;
    const FloatArray unused = py::array_t<float>({height, width, g.shape(2)});
    const auto kernel = make_kernel("lanczos_conv", py::dict("x"_a = unused, "dy"_a = g),
                                    py::dict("scale"_a = scale, "lobes"_a = lobes), isa, threads);
    kernel->backward();
    return kernel->results()["dx"].cast<FloatArray>();
}

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
    FloatArray array = new_array({height, width, spec.channels});
    encoding.get_values(array.mutable_data());
    return array;
}

FloatArray normal(uint64_t seed, uint64_t step, size_t count, const std::string& isa) {
    const Kernels* kernels = kernels_for(isa.c_str());
    if (!kernels) throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
    std::vector<float> values((count + 3) / 4 * 4);
    kernels->perturb->normal(seed, step, 0, values.size() / 4, values.data());
    return copy_of(values.data(), {(py::ssize_t)count});
}

}  // namespace

void add_kernels(py::module_& module) {
    using namespace py::literals;
    py::class_<KernelBench>(
        module, "Kernel",
        "One kernel with its buffers: forward() and backward() compute, results() copies out")
        .def(py::init(&make_kernel), "name"_a, "arrays"_a, "options"_a = py::dict(), "isa"_a = "",
             "threads"_a = 1)
        .def(
            "forward",
            [](KernelBench& kernel) {
                kernel.prepare_thread();
                kernel.forward();
            },
            py::call_guard<py::gil_scoped_release>())
        .def(
            "backward",
            [](KernelBench& kernel) {
                kernel.prepare_thread();
                kernel.backward();
            },
            py::call_guard<py::gil_scoped_release>())
        .def("results", &KernelBench::results);
    module.def("lanczos_conv_forward", &lanczos_conv_forward, "x"_a, "weight"_a, "bias"_a, "scale"_a,
               "lobes"_a = 2, "isa"_a = "", "threads"_a = 1);
    module.def("lanczos_conv_backward", &lanczos_conv_backward, "x"_a, "weight"_a, "dy"_a, "scale"_a,
               "lobes"_a = 2, "isa"_a = "", "threads"_a = 1);
    module.def("lanczos_weights", [](int scale, int lobes, double phase) {
        return lanczos_weights(scale, lobes, phase != 0.0);
    });
    module.def("lanczos_decimate", &lanczos_decimate, "x"_a, "scale"_a, "lobes"_a = 2, "isa"_a = "",
               "threads"_a = 1);
    module.def("lanczos_decimate_adjoint", &lanczos_decimate_adjoint, "g"_a, "height"_a, "width"_a, "scale"_a,
               "lobes"_a = 2, "isa"_a = "", "threads"_a = 1);
    module.def("fourier_features", &fourier_features, "frequencies"_a, "height"_a, "width"_a);
    module.def("normal", &normal, "seed"_a, "step"_a, "count"_a, "isa"_a = "");
}

}  // namespace dipedge
