// Sizes and the small things every operation of the engine shares.
#pragma once

#include <cstddef>

#include "engine/arena.h"
#include "engine/thread_pool.h"
#include "simd/isa.h"

namespace dipedge {

// Channels are padded to whole vectors of the widest set: 16 floats, or the 32 bf16 of a tile's row.
template <class Cell>
constexpr int channel_block = 64 / sizeof(Cell);
constexpr int tile_width = 96;  // pixels of a row worked on at once: 48 KiB at 128 floats

// A picture of [height, width, padded] cells, `channels` of them in use. It may be several frames of one height, one
// below the other: then nothing looks from one into the next.
struct Geometry {
    int height = 0, width = 0, channels = 0, padded = 0, frames = 1;

    Geometry() = default;
    Geometry(int height, int width, int channels, int block)
        : height(height), width(width), channels(channels), padded((channels + block - 1) / block * block) {}
    int frame_height() const { return height / frames; }
    size_t pixels() const { return (size_t)height * width; }
    size_t cells() const { return pixels() * padded; }
};

// Memory of one worker, handed out piece by piece; whoever is given a copy may take from what is left.
class Scratch {
  public:
    explicit Scratch(float* memory) : at_(reinterpret_cast<char*>(memory)) {}

    template <class T>
    T* take(size_t count) {
        T* piece = reinterpret_cast<T*>(at_);
        at_ += bytes<T>(count);
        return piece;
    }

    // What a piece of `count` takes up, rounded to cache lines.
    template <class T>
    static size_t bytes(size_t count) {
        return (count * sizeof(T) + 63) / 64 * 64;
    }

  private:
    char* at_;
};

// Who computes: the pool, the kernels of the chosen instruction set, and scratch space per worker.
struct Context {
    ThreadPool* pool = nullptr;
    const Kernels* kernels = nullptr;
    Buffer* scratch = nullptr;
    size_t scratch_bytes = 0;  // per worker, a multiple of 64

    Scratch scratch_of(int worker) const {
        return Scratch(scratch->data + scratch_bytes / sizeof(float) * worker);
    }
    template <class Cell>
    const CellKernels<Cell>& of() const {
        return kernels->of<Cell>();
    }
};

// Row `row` of a decimated picture stands at this row of the picture: rows 0, stride, 2 stride, ... of each frame.
inline int row_before(int row, int stride, const Geometry& in, const Geometry& out) {
    const int frame = row / out.frame_height();
    return frame * in.frame_height() + (row - frame * out.frame_height()) * stride;
}

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
