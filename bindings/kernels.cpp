// Kernels on their own: the class _native.Kernel, and functions over numpy arrays for golden files.
#include "bindings/numpy.h"
#include "engine/decimate.h"

namespace dipedge {
namespace {

std::unique_ptr<KernelBench> make_from_python(const std::string& name,
                                              std::map<std::string, FloatArray> arrays, Options options,
                                              const std::string& isa, int threads) {
    return make_kernel(name, Inputs(std::move(arrays), std::move(options)), isa, threads);
}

// x, or with a weight its convolution, decimated by Lanczos.
std::unique_ptr<KernelBench> make_lanczos(std::map<std::string, FloatArray> arrays, int scale, int lobes,
                                          const std::string& isa, int threads) {
    Options options;
    options.add("scale", scale);
    options.add("lobes", lobes);
    return make_kernel("lanczos_conv", Inputs(std::move(arrays), options), isa, threads);
}

// A reflection-padded convolution with its bias, decimated by Lanczos. The filter's weights sum to 1, so a bias
// passes it unchanged, and its gradient is the sum of dy.
FloatArray lanczos_conv_forward(const FloatArray& x, const FloatArray& weight, const FloatArray& bias,
                                int scale, int lobes, const std::string& isa, int threads) {
    const ptrdiff_t height = (x.shape(0) + scale - 1) / scale, width = (x.shape(1) + scale - 1) / scale;
    const FloatArray no_gradient({height, width, weight.shape(0)});
    const auto kernel =
        make_lanczos({{"x", x}, {"weight", weight}, {"dy", no_gradient}}, scale, lobes, isa, threads);
    kernel->forward();
    FloatArray y = kernel->results()["y"];
    const float* added = checked(bias, weight.shape(0), "bias");
    float* values = y.mutable_data();
    for (ptrdiff_t i = 0; i < y.size(); ++i) values[i] += added[i % bias.size()];
    return y;
}

py::tuple lanczos_conv_backward(const FloatArray& x, const FloatArray& weight, const FloatArray& dy,
                                int scale, int lobes, const std::string& isa, int threads) {
    const auto kernel = make_lanczos({{"x", x}, {"weight", weight}, {"dy", dy}}, scale, lobes, isa, threads);
    kernel->forward();
    kernel->backward();
    Results found = kernel->results();
    const ptrdiff_t outputs = weight.shape(0);
    std::vector<double> sums(outputs, 0.0);
    for (ptrdiff_t i = 0; i < dy.size(); ++i) sums[i % outputs] += dy.data()[i];
    FloatArray dbias({outputs});
    std::copy(sums.begin(), sums.end(), dbias.mutable_data());
    return py::make_tuple(found["dx"], found["dweight"], dbias);
}

FloatArray lanczos_decimate(const FloatArray& x, int scale, int lobes, const std::string& isa, int threads) {
    const ptrdiff_t height = (x.shape(0) + scale - 1) / scale, width = (x.shape(1) + scale - 1) / scale;
    const FloatArray no_gradient({height, width, x.shape(2)});
    const auto kernel = make_lanczos({{"x", x}, {"dy", no_gradient}}, scale, lobes, isa, threads);
    kernel->forward();
    return kernel->results()["y"];
}

FloatArray lanczos_decimate_adjoint(const FloatArray& g, ptrdiff_t height, ptrdiff_t width, int scale,
                                    int lobes, const std::string& isa, int threads) {
    const FloatArray unused({height, width, g.shape(2)});
    const auto kernel = make_lanczos({{"x", unused}, {"dy", g}}, scale, lobes, isa, threads);
    kernel->backward();
    return kernel->results()["dx"];
}

}  // namespace

void add_kernels(py::module_& module) {
    using namespace py::literals;
    py::class_<KernelBench>(
        module, "Kernel",
        "One kernel with its buffers: forward() and backward() compute, results() copies out")
        .def(py::init(&make_from_python), "name"_a, "arrays"_a, "options"_a = py::dict(), "isa"_a = "",
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
