// What this machine can do at most, measured: the yardstick of the benchmarks.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>

#include "bindings/arrays.h"
#include "engine/thread_pool.h"
#include "simd/limits.h"

namespace dipedge {
namespace {

// The limits of the instruction set called `isa`, as in kernels_for.
const LimitKernels& limits_of(const std::string& isa) {
    const Kernels* kernels = kernels_for(isa.c_str());
    const std::string name = kernels ? kernels->isa : "";
#define DIPEDGE_RETURN_LIMITS(ns) \
    if (name == #ns) return ns::limit_kernels;
    DIPEDGE_FOR_EACH_ISA(DIPEDGE_RETURN_LIMITS)
#undef DIPEDGE_RETURN_LIMITS
    throw std::invalid_argument("instruction set '" + isa + "' cannot run here");
}

// Seconds of the fastest of `repeats` runs; the others were disturbed.
template <class Body>
double fastest(int repeats, const Body& body) {
    double best = 1e30;
    for (int i = 0; i < repeats; ++i) {
        const auto start = std::chrono::steady_clock::now();
        body();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

double fma_gflops(const std::string& isa, int threads) {
    const LimitKernels& limits = limits_of(isa);
    ThreadPool pool(threads);
    const long rounds = 1000000;
    std::vector<float> kept(threads);
    const auto run = [&] {
        pool.run(threads, [&](int task, int) { kept[task] = limits.fma_chains(rounds); });
    };
    run();
    return 1e-9 * rounds * limits.flops_per_round * threads / fastest(12, run);
}

double copy_gbytes(int threads) {
    const size_t bytes = 256u << 20, pieces = 64;  // pieces: a thread that is late does not decide the time
    const std::unique_ptr<char[]> from(new char[bytes]), to(new char[bytes]);
    ThreadPool pool(threads);
    std::memset(from.get(), 1, bytes);
    std::memset(to.get(), 2, bytes);
    const auto run = [&] {
        pool.run((int)pieces, [&](int piece, int) {
            const size_t share = bytes / pieces, begin = piece * share;
            std::memcpy(to.get() + begin, from.get() + begin, share);
        });
    };
    return 1e-9 * 2 * bytes / fastest(5, run);
}

}  // namespace

void add_limits(py::module_& module) {
    using namespace py::literals;
    module.def("fma_gflops", &fma_gflops, "isa"_a, "threads"_a, py::call_guard<py::gil_scoped_release>(),
               "Float32 multiply-adds, two flops each, that `threads` threads reach in registers alone");
    module.def("copy_gbytes", &copy_gbytes, "threads"_a, py::call_guard<py::gil_scoped_release>(),
               "Bytes read plus bytes written per second when 256 MB are copied");
}

}  // namespace dipedge
