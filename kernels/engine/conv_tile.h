// One tile of a convolution's work: a slab's rows by at most tile_width columns, and the ring of packed
// source rows that the rows of a tile share.
#pragma once

#include <algorithm>
#include <cstring>

#include "engine/conv.h"

namespace dipedge {

struct Conv::Tile {
    int slab, row_begin, row_end, begin, end;  // rows and columns, ends exclusive
    int columns() const { return end - begin; }
};

// Packed rows of the padded source under columns [begin, end) of the output, the last `kernel` of them.
// A row is (columns - 1) * stride + kernel pixels, source.padded floats each.
class RowRing {
  public:
    RowRing(const Kernels& kernels, const Source& source, const ConvShape& shape, int begin, int end,
            float* memory, float* scratch)
        : kernels_(kernels), source_(source), shape_(shape), memory_(memory), scratch_(scratch) {
        const int margin = (shape.kernel - 1) / 2;
        // A strided pointwise convolution packs only the pixels it keeps.
        step_ = shape.kernel == 1 ? shape.stride : 1;
        first_ = begin * shape.stride - margin;
        last_ = (end - 1) * shape.stride - margin + shape.kernel - 1;
        row_floats_ = (size_t)((last_ - first_) / step_ + 1) * source.size.padded;
        for (int& row : held_) row = -1000000;
    }

    // Pixels between neighbouring outputs in a packed row.
    int pixel_step() const { return shape_.kernel == 1 ? 1 : shape_.stride; }

    // The packed row number `row` of the padded source, row may lie outside the picture.
    const float* row(int row) {
        const int slot = ((row % shape_.kernel) + shape_.kernel) % shape_.kernel;
        float* to = memory_ + slot * row_floats_;
        if (held_[slot] != row) {
            fill(row, to);
            held_[slot] = row;
        }
        return to;
    }

  private:
    void fill(int row, float* to) {
        const int height = source_.size.height, width = source_.size.width;
        const size_t pixel = source_.size.padded;
        const bool outside = row < 0 || row >= height;
        if (outside && !shape_.reflect) {
            std::memset(to, 0, sizeof(float) * row_floats_);
            return;
        }
        const int from = std::max(first_, 0), until = std::min(last_ + 1, width);
        source_.pack(kernels_, outside ? reflect(row, height) : row, from, until, step_,
                     to + (size_t)(from - first_) * pixel, pixel, scratch_);
        for (int x = first_; x < 0; ++x) copy_border(x, width, to);
        for (int x = width; x <= last_; ++x) copy_border(x, width, to);
    }

    // What a column beyond the picture shows always lies in the same tile: see docs/engine.md.
    void copy_border(int x, int width, float* to) {
        const size_t pixel = source_.size.padded;
        float* target = to + (size_t)(x - first_) * pixel;
        if (shape_.reflect) {
            std::memcpy(target, to + (size_t)(reflect(x, width) - first_) * pixel, sizeof(float) * pixel);
        } else {
            std::memset(target, 0, sizeof(float) * pixel);
        }
    }

    const Kernels& kernels_;
    const Source& source_;
    const ConvShape& shape_;
    float* memory_;
    float* scratch_;
    int step_, first_, last_;
    size_t row_floats_;
    int held_[7];  // which row each slot holds
};

// Calls body(begin, end) for tiles of at most tile_width columns.
template <class Body>
void for_tiles(int width, const Body& body) {
    for (int begin = 0; begin < width; begin += tile_width) body(begin, std::min(width, begin + tile_width));
}

}  // namespace dipedge
