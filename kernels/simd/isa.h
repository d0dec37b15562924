// Which instruction sets are compiled in, which one runs, and every kernel's table for it.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define DIPEDGE_FOR_EACH_ISA(DO) DO(generic) DO(avx2) DO(avx512)
#else
#define DIPEDGE_FOR_EACH_ISA(DO) DO(generic)
#endif


namespace dipedge {

struct ConvKernels;
struct MergeKernels;
struct PoolKernels;
struct LanczosKernels;
struct TailKernels;
struct AdamKernels;
struct MuonKernels;
struct PerturbKernels;
struct FourierKernels;

// One row of function tables; all of one instruction set.
struct Kernels {
    const char* isa;
    int lanes;
    const ConvKernels* conv;
    const MergeKernels* merge;
    const PoolKernels* pool;
    const LanczosKernels* lanczos;
    const TailKernels* tail;
    const AdamKernels* adam;
    const MuonKernels* muon;
    const PerturbKernels* perturb;
    const FourierKernels* fourier;
};

// The kernels of `name` ("generic", "avx2", "avx512"), or of the best set this processor has when the
// name is null or empty. Returns null when the name is unknown or the processor lacks the set.
const Kernels* kernels_for(const char* name);

// Names of all sets that this processor can run, best last, separated by spaces.
const char* runnable_isas();

}  // namespace dipedge
