// Sizes and the small things every operation of the engine shares.
#pragma once

#include <cstddef>

#include "engine/arena.h"
#include "engine/thread_pool.h"
#include "simd/isa.h"

namespace dipedge {

constexpr int channel_block = 16;  // channels are padded to whole vectors of the widest set
constexpr int tile_width = 96;     // pixels of a row worked on at once: 48 KiB at 128 channels

inline int padded_channels(int channels) {
    return (channels + channel_block - 1) / channel_block * channel_block;
}

// A picture of [height, width, padded] floats, `channels` of them in use.
struct Geometry {
    int height = 0, width = 0, channels = 0, padded = 0;

    Geometry() = default;
    Geometry(int height, int width, int channels)
        : height(height), width(width), channels(channels), padded(padded_channels(channels)) {}
    size_t pixels() const { return (size_t)height * width; }
    size_t floats() const { return pixels() * padded; }
};

// Who computes: the pool, the kernels of the chosen instruction set, and scratch space per worker.
struct Context {
    ThreadPool* pool = nullptr;
    const Kernels* kernels = nullptr;
    Buffer* scratch = nullptr;
    size_t scratch_floats = 0;  // per worker

    float* scratch_of(int worker) const { return scratch->data + scratch_floats * worker; }
};

// How the rows of a picture are cut into tasks: a function of the picture alone, so that partial sums,
// which are kept per slab and added in order, do not depend on the thread count.
struct Slabs {
    int count = 1, rows = 1, height = 0;

    Slabs() = default;
    explicit Slabs(const Geometry& size, int pixels_per_slab = 128, int most = 16) : height(size.height) {
        const size_t wanted = size.pixels() / pixels_per_slab;
        const int slabs = wanted < 1 ? 1 : (wanted > (size_t)most ? most : (int)wanted);
        rows = (height + slabs - 1) / slabs;
        count = (height + rows - 1) / rows;
    }
    int begin(int slab) const { return slab * rows; }
    int end(int slab) const { return (slab + 1) * rows < height ? (slab + 1) * rows : height; }
};

// Position of index i of a reflected axis of n: the border itself is not repeated (PyTorch's
// "reflect"), and any distance is folded back, so that a 3x3 kernel works on a 1x1 picture too.
inline int reflect(int i, int n) {
    if (n == 1) return 0;
    const int period = 2 * (n - 1);
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

}  // namespace dipedge
