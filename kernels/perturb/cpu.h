// Counter-based normal noise. The contract is this folder's __init__.py.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "simd/isa.h"

namespace dipedge {

struct PerturbKernels {
    // Writes normal values number [4 * first_block, 4 * (first_block + blocks)) of (seed, step).
    void (*normal)(uint64_t seed, uint64_t step, uint64_t first_block, size_t blocks, float* to);

    // to[i] = from[i] + sigma * noise[i].
    void (*add_noise)(const float* from, const float* noise, float sigma, size_t count, float* to);
};

#define DIPEDGE_DECLARE_PERTURB(ns)              \
    namespace ns {                               \
    extern const PerturbKernels perturb_kernels; \
    }
DIPEDGE_FOR_EACH_ISA(DIPEDGE_DECLARE_PERTURB)

}  // namespace dipedge
