// Which instruction sets are compiled in, which one runs, and every kernel's table for it.
#pragma once

#include "simd/cell.h"

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DIPEDGE_WITHOUT_BF16)
#define DIPEDGE_FOR_EACH_BF16_ISA(DO) DO(avx512bf16) DO(amx)
#define DIPEDGE_HAS_BF16_ISAS 1
#else
#define DIPEDGE_FOR_EACH_BF16_ISA(DO)
#endif
#if defined(__x86_64__) || defined(_M_X64)
#define DIPEDGE_FOR_EACH_ISA(DO) DO(generic) DO(avx2) DO(avx512) DIPEDGE_FOR_EACH_BF16_ISA(DO)
#elif defined(__aarch64__)
#define DIPEDGE_FOR_EACH_ISA(DO) DO(generic) DO(neon)
#else
#define DIPEDGE_FOR_EACH_ISA(DO) DO(generic)
#endif

namespace dipedge {

template <class Cell>
struct ConvKernels;
template <class Cell>
struct MergeKernels;
template <class Cell>
struct TailKernels;
template <class Cell>
struct FourierKernels;
template <class Cell>
struct FilterKernels;
template <class Cell>
struct PoolKernels;
struct LanczosKernels;
struct AdamKernels;
struct MuonKernels;
struct PerturbKernels;

// The tables whose functions read or write activations, for one kind of cell.
template <class Cell>
struct CellKernels {
    const ConvKernels<Cell>* conv = nullptr;
    const MergeKernels<Cell>* merge = nullptr;
    const TailKernels<Cell>* tail = nullptr;
    const FourierKernels<Cell>* fourier = nullptr;
    const FilterKernels<Cell>* filter = nullptr;
    const PoolKernels<Cell>* pool = nullptr;
};

// One row of function tables; all of one instruction set.
struct Kernels {
    const char* isa;
    CellKernels<float> fp32;
    CellKernels<bf16> half;  // null tables where the set does not multiply bf16
    const LanczosKernels* lanczos;
    const AdamKernels* adam;
    const MuonKernels* muon;
    const PerturbKernels* perturb;
    void (*prepare_thread)();  // what every thread must do once before it runs these; may be null

    bool has_bf16() const { return half.conv != nullptr; }

    template <class Cell>
    const CellKernels<Cell>& of() const;
};

template <>
inline const CellKernels<float>& Kernels::of<float>() const {
    return fp32;
}
template <>
inline const CellKernels<bf16>& Kernels::of<bf16>() const {
    return half;
}

// The kernels of `name` ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon"), or of the best set this
// processor has when the name is null or empty. Returns null when the name is unknown or the processor
// lacks the set.
const Kernels* kernels_for(const char* name);

// Names of all sets that this processor can run, best last, separated by spaces.
const char* runnable_isas();

}  // namespace dipedge
