// Where every fit starts, the same bits as dipedge/engines/initial.py: weights as PyTorch draws them, and z.
#pragma once

#include <cstdint>
#include <vector>

#include "bindings/c/presets.h"

namespace dipedge::c_api {

// The Mersenne twister MT19937 (Matsumoto and Nishimura, 1998), seeded as both NumPy and PyTorch seed it.
class Twister {
  public:
    explicit Twister(uint32_t seed);
    explicit Twister(const std::vector<uint32_t>& key);  // their init_by_array

    uint32_t next();

    // `count` float32 values as Tensor.uniform_(low, high) draws them on a processor.
    void uniform(float low, float high, size_t count, float* to);

  private:
    void seed(uint32_t seed);
    void refill();

    static constexpr int words = 624;
    uint32_t state_[words];
    int used_ = words;
};

// Sets every parameter of the program, in the order that the published code draws them.
void set_initial_weights(Program& program, uint64_t seed);

// Sets z, where it is not computed: noise, or coordinates.
void set_initial_input(Program& program, const PresetRow& row, uint64_t seed);

}  // namespace dipedge::c_api
