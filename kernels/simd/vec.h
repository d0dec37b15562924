// One small vector class per instruction set; kernels are written once against it.
//
// The build compiles every kernels/*/cpu.cpp once per instruction set, with DIPEDGE_ISA_NAMESPACE set
// to the namespace its symbols go to and one DIPEDGE_ISA_<NAME> macro set to choose the class. Only C
// headers may be included in such files: an inline function of the C++ library compiled with AVX-512
// could be picked by the linker for the whole program and crash on a smaller processor.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(DIPEDGE_ISA_AMX)
#define DIPEDGE_ISA_AVX512BF16 1
#endif
#if defined(DIPEDGE_ISA_AVX512BF16)
#define DIPEDGE_ISA_AVX512 1
#endif
#include "simd/cell.h"

#if defined(DIPEDGE_ISA_AVX512)
#include "simd/vec_avx512.h"
#elif defined(DIPEDGE_ISA_AVX2)
#include "simd/vec_avx2.h"
#elif defined(DIPEDGE_ISA_NEON)
#include "simd/vec_neon.h"
#else
#include "simd/vec_generic.h"
#endif

namespace dipedge {
namespace DIPEDGE_ISA_NAMESPACE {

// LeakyReLU for slopes below 1: the larger of the value and the sloped value.
static inline Vec leaky_relu(Vec value, Vec slope) { return max(value, value * slope); }

}  // namespace DIPEDGE_ISA_NAMESPACE
}  // namespace dipedge
