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

Options conv_options(int stride, const std::string& padding) {
    Options options;
    options.add("stride", stride);
    options.add("padding", padding);
    return options;
}

FloatArray conv_forward(const FloatArray& x, const FloatArray& weight, const FloatArray& bias, int stride,
                        const std::string& padding, const std::string& isa, int threads) {
    const ptrdiff_t height = (x.shape(0) + stride - 1) / stride, width = (x.shape(1) + stride - 1) / stride;
    const FloatArray no_gradient({height, width, weight.shape(0)});
    const Inputs inputs({{"x", x}, {"weight", weight}, {"dy", no_gradient}}, conv_options(stride, padding));
    const auto kernel = make_kernel("conv_norm_act", inputs, isa, threads);
    kernel->forward();
    FloatArray y = kernel->results()["y"];
    const float* added = checked(bias, weight.shape(0), "bias");
    float* values = y.mutable_data();
    for (ptrdiff_t i = 0; i < y.size(); ++i) values[i] += added[i % bias.size()];
    return y;
}

py::tuple conv_backward(const FloatArray& x, const FloatArray& weight, const FloatArray& dy, int stride,
                        const std::string& padding, const std::string& isa, int threads) {
    const Inputs inputs({{"x", x}, {"weight", weight}, {"dy", dy}}, conv_options(stride, padding));
    const auto kernel = make_kernel("conv_norm_act", inputs, isa, threads);
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

std::unique_ptr<KernelBench> make_lanczos(const FloatArray& x, const FloatArray& dy, int scale, int lobes,
                                          const std::string& isa, int threads) {
    Options options;
    options.add("scale", scale);
    options.add("lobes", lobes);
    return make_kernel("lanczos_conv", Inputs({{"x", x}, {"dy", dy}}, options), isa, threads);
}

FloatArray lanczos_decimate(const FloatArray& x, int scale, int lobes, const std::string& isa, int threads) {
    const ptrdiff_t height = (x.shape(0) + scale - 1) / scale, width = (x.shape(1) + scale - 1) / scale;
    const FloatArray no_gradient({height, width, x.shape(2)});
    const auto kernel = make_lanczos(x, no_gradient, scale, lobes, isa, threads);
    kernel->forward();
    return kernel->results()["y"];
}

FloatArray lanczos_decimate_adjoint(const FloatArray& g, ptrdiff_t height, ptrdiff_t width, int scale,
                                    int lobes, const std::string& isa, int threads) {
    const FloatArray unused({height, width, g.shape(2)});
    const auto kernel = make_lanczos(unused, g, scale, lobes, isa, threads);
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
    module.def("conv_forward", &conv_forward, "x"_a, "weight"_a, "bias"_a, "stride"_a = 1,
               "padding"_a = "reflection", "isa"_a = "", "threads"_a = 1);
    module.def("conv_backward", &conv_backward, "x"_a, "weight"_a, "dy"_a, "stride"_a = 1,
               "padding"_a = "reflection", "isa"_a = "", "threads"_a = 1);
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
