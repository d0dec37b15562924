// How activations lie in memory: float32, or bfloat16 where the processor multiplies it natively.
#pragma once

#include <stdint.h>

namespace dipedge {

// The upper half of a float32: 8 bits of exponent, 7 of fraction. Weights, statistics, sums and the
// optimiser stay float32; only activations and their gradients are kept and multiplied like this.
struct bf16 {
    uint16_t bits;
};

}  // namespace dipedge
