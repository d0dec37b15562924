// What this machine can do at most, measured. No Python in here.
#pragma once

#include <string>

namespace dipedge {

// Multiply-adds, two flops each, that threads reach in registers alone: float32, or bf16 (`half`) summed in
// float32. Throws std::invalid_argument for an instruction set that cannot run here or lacks bf16.
double multiply_gflops(const std::string& isa, int threads, bool half);

// Bytes read plus bytes written per second, in units of 10^9, when 256 MB are copied.
double copy_gbytes(int threads);

}  // namespace dipedge
