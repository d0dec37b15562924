// What this machine can do at most, measured: the yardstick of the benchmarks.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "bindings/limits.h"
#include "engine/arena.h"
#include "engine/thread_pool.h"
#include "simd/limits.h"

namespace dipedge {
namespace {

// The limits of the same instruction set as `kernels`.
const LimitKernels& limits_of(const Kernels* kernels, const std::string& isa) {
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

// Past the caches where there are such stores: others read the target first, which no kernel has to.
void copy(const float* from, size_t count, float* to) {
#if defined(__SSE__)
    for (size_t i = 0; i < count; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
    _mm_sfence();
#else
    std::memcpy(to, from, count * sizeof(float));
#endif
}

}  // namespace

double multiply_gflops(const std::string& isa, int threads, bool half) {
    const Kernels* kernels = kernels_for(isa.c_str());
    const LimitKernels& limits = limits_of(kernels, isa);
    if (half && !limits.bf16_chains) {
        throw std::invalid_argument("instruction set '" + isa + "' does not multiply bf16");
    }
    const auto chains = half ? limits.bf16_chains : limits.fma_chains;
    const int flops = half ? limits.bf16_flops_per_round : limits.flops_per_round;
    if (kernels->prepare_thread) kernels->prepare_thread();
    ThreadPool pool(threads, kernels->prepare_thread);
    std::vector<float> kept(threads);
    long rounds = 1000;
    const auto run = [&] { pool.run(threads, [&](int task, int) { kept[task] = chains(rounds); }); };
    run();
    rounds = (long)(1000 * std::max(1.0, 0.02 / fastest(3, run)));  // about 20 ms
    return 1e-9 * rounds * flops * threads / fastest(12, run);
}

double copy_gbytes(int threads) {
    const size_t count = 64u << 20, pieces = 64;  // pieces: a thread that is late does not decide the time
    Arena arena;
    const Buffer *from = arena.add_persistent(count), *to = arena.add_persistent(count);
    arena.place();
    std::fill_n(from->data, count, 1.0f);
    std::fill_n(to->data, count, 2.0f);
    ThreadPool pool(threads);
    const auto run = [&] {
        pool.run((int)pieces, [&](int piece, int) {
            const size_t share = count / pieces, begin = piece * share;
            copy(from->data + begin, share, to->data + begin);
        });
    };
    return 1e-9 * 2 * sizeof(float) * count / fastest(5, run);
}

}  // namespace dipedge
