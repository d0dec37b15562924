#include "simd/isa.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

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

#define DIPEDGE_FP32(ns)                                           \
    {&ns::conv_kernels,    &ns::merge_kernels,  &ns::tail_kernels, \
     &ns::fourier_kernels, &ns::filter_kernels, &ns::pool_kernels}
#define DIPEDGE_BF16(ns)                                                          \
    {&ns::conv_kernels_bf16,    &ns::merge_kernels_bf16,  &ns::tail_kernels_bf16, \
     &ns::fourier_kernels_bf16, &ns::filter_kernels_bf16, &ns::pool_kernels_bf16}
#define DIPEDGE_REST(ns) &ns::lanczos_kernels, &ns::adam_kernels, &ns::muon_kernels, &ns::perturb_kernels

const Kernels tables[] = {
    {"generic", DIPEDGE_FP32(generic), {}, DIPEDGE_REST(generic), nullptr},
#if defined(__x86_64__) || defined(_M_X64)
    {"avx2", DIPEDGE_FP32(avx2), {}, DIPEDGE_REST(avx2), nullptr},
    {"avx512", DIPEDGE_FP32(avx512), {}, DIPEDGE_REST(avx512), nullptr},
#endif
#if defined(__aarch64__)
    {"neon", DIPEDGE_FP32(neon), {}, DIPEDGE_REST(neon), nullptr},
#endif
#if defined(DIPEDGE_HAS_BF16_ISAS)
    {"avx512bf16", DIPEDGE_FP32(avx512bf16), DIPEDGE_BF16(avx512bf16), DIPEDGE_REST(avx512bf16), nullptr},
    {"amx", DIPEDGE_FP32(amx), DIPEDGE_BF16(amx), DIPEDGE_REST(amx), &amx::configure_tiles},
#endif
};

#if defined(__x86_64__) || defined(_M_X64)
// The tile registers are 8 KiB a thread; Linux saves them only for processes that asked for it.
bool tiles_permitted() {
#if defined(__linux__)
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool permitted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    return permitted;
#else
    return false;
#endif
}

// CPUID leaf 7: what the compiler's __builtin_cpu_supports has no names for everywhere.
bool has_avx512_bf16() {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
bool has_amx_bf16() {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
}
#endif

bool runs(const Kernels& table) {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    if (!strcmp(table.isa, "avx2")) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (!strcmp(table.isa, "avx512bf16") && !has_avx512_bf16()) return false;
    if (!strcmp(table.isa, "amx") && !(has_avx512_bf16() && has_amx_bf16() && tiles_permitted())) {
        return false;
    }
    if (strcmp(table.isa, "generic")) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
#elif defined(__aarch64__)
    if (!strcmp(table.isa, "neon")) return true;  // part of 64-bit Arm
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
