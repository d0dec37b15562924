#include "simd/isa.h"

#include <string.h>

#include "adam/cpu.h"
#include "conv_norm_act/cpu.h"
#include "fourier_mlp/cpu.h"
#include "lanczos_conv/cpu.h"
#include "muon/cpu.h"
#include "perturb/cpu.h"
#include "pool/cpu.h"
#include "residual_loss/cpu.h"
#include "upsample_merge/cpu.h"

namespace dipedge {
namespace {

#define DIPEDGE_TABLE(ns, width)                                                         \
    {#ns,                                                                                \
     width,                                                                              \
     &ns::conv_kernels,                                                                  \
     &ns::merge_kernels,                                                                 \
     &ns::pool_kernels,                                                                  \
     &ns::lanczos_kernels,                                                               \
     &ns::tail_kernels,                                                                  \
     &ns::adam_kernels,                                                                  \
     &ns::muon_kernels,                                                                  \
     &ns::perturb_kernels,                                                               \
     &ns::fourier_kernels}

const Kernels tables[] = {
    DIPEDGE_TABLE(generic, 4),
#if defined(__x86_64__) || defined(_M_X64)
    DIPEDGE_TABLE(avx2, 8),
    DIPEDGE_TABLE(avx512, 16),
#endif
};

bool runs(const Kernels& table) {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    if (!strcmp(table.isa, "avx2")) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (!strcmp(table.isa, "avx512")) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#endif
    return !strcmp(table.isa, "generic");
}

}  // namespace

const Kernels* kernels_for(const char* name) {
    const Kernels* best = nullptr;
    for (const Kernels& table : tables) {
        if (!runs(table)) continue;
        if (name && name[0] && strcmp(name, table.isa)) continue;
        best = &table;
    }
    return best;
}

const char* runnable_isas() {
    static char names[64];
    static const bool filled = [] {
        for (const Kernels& table : tables) {
            if (!runs(table)) continue;
            if (names[0]) strcat(names, " ");
            strcat(names, table.isa);
        }
        return true;
    }();
    (void)filled;
    return names;
}

}  // namespace dipedge
