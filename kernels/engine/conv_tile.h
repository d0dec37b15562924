// One tile of a convolution's work: a slab's rows by at most tile_width columns, the ring of packed source
// rows that the rows of a tile share, and a row of the output's gradient.
#pragma once

#include <algorithm>
#include <cstring>

#include "engine/conv.h"

namespace dipedge {

template <class Cell>
struct Conv<Cell>::Tile {
    int slab, row_begin, row_end, begin, end;  // rows and columns, ends exclusive
    int columns() const { return end - begin; }
};

// Packed rows of the padded source under columns [begin, end) of the output, the last `kernel` of them.
// A row is (columns - 1) * stride + kernel pixels, source.padded cells each. With `turned`, rows are as
// multiply_outer wants them.
template <class Cell>
class RowRing {
  public:
    RowRing(const Kernels& kernels, const Source<Cell>& source, const ConvShape& shape, int begin, int end,
            bool turned, Scratch& scratch)
        : kernels_(kernels), conv_(*kernels.of<Cell>().conv), source_(source), shape_(shape) {
        const int margin = (shape.kernel - 1) / 2;
        // A strided pointwise convolution packs only the pixels it keeps.
        pack_step_ = shape.kernel == 1 ? shape.stride : 1;
        first_ = begin * shape.stride - margin;
        last_ = (end - 1) * shape.stride - margin + shape.kernel - 1;
        turns_ = turned && conv_.turns;
        slot_cells_ = (size_t)pixels() * source.size.padded;
        if (turns_) {
            plain_ = scratch.template take<Cell>(slot_cells_);
            slot_cells_ = conv_.left_size(pixels(), source.size.padded, step());
        }
        slots_ = scratch.template take<Cell>(slot_cells_ * shape.kernel);
        scratch_ = scratch.template take<char>(source.scratch_bytes());
        for (int& row : held_) row = -1000000;
    }

    // Pixels in a packed row, and between neighbouring outputs in it.
    int pixels() const { return (last_ - first_) / pack_step_ + 1; }
    int step() const { return shape_.kernel == 1 ? 1 : shape_.stride; }

    static size_t bytes(const Source<Cell>& source, const ConvShape& shape, size_t row_pixels) {
        const size_t cells = (row_pixels + 96) * source.size.padded;
        return (shape.kernel + 1) * Scratch::bytes<Cell>(cells) + source.scratch_bytes() + 128;
    }

    // The packed row number `row` of the padded source; row may lie outside the picture.
    const Cell* row(int row) {
        const int slot = ((row % shape_.kernel) + shape_.kernel) % shape_.kernel;
        Cell* to = slots_ + slot * slot_cells_;
        if (held_[slot] != row) {
            fill(row, turns_ ? plain_ : to);
            if (turns_) conv_.turn_left(plain_, pixels(), source_.size.padded, step(), to);
            held_[slot] = row;
        }
        return to;
    }

  private:
    void fill(int row, Cell* to) {
        const int height = source_.size.height, width = source_.size.width;
        const size_t pixel = source_.size.padded;
        const bool outside = row < 0 || row >= height;
        if (outside && !shape_.reflect) {
            std::memset(to, 0, sizeof(Cell) * pixels() * pixel);
            return;
        }
        const int from = std::max(first_, 0), until = std::min(last_ + 1, width);
        source_.pack(kernels_, outside ? reflect(row, height) : row, from, until, pack_step_,
                     to + (size_t)(from - first_) * pixel, pixel, Scratch((float*)scratch_));
        for (int x = first_; x < 0; ++x) copy_border(x, width, to);
        for (int x = width; x <= last_; ++x) copy_border(x, width, to);
    }

    // What a column beyond the picture shows always lies in the same tile: a tile that reaches beyond the
    // border begins `margin` columns before its first output, and reflection reaches back no further.
    void copy_border(int x, int width, Cell* to) {
        const size_t pixel = source_.size.padded;
        Cell* target = to + (size_t)(x - first_) * pixel;
        if (shape_.reflect) {
            std::memcpy(target, to + (size_t)(reflect(x, width) - first_) * pixel, sizeof(Cell) * pixel);
        } else {
            std::memset(target, 0, sizeof(Cell) * pixel);
        }
    }

    const Kernels& kernels_;
    const ConvKernels<Cell>& conv_;
    const Source<Cell>& source_;
    const ConvShape& shape_;
    Cell *plain_ = nullptr, *slots_;
    char* scratch_;
    int pack_step_, first_, last_;
    bool turns_;
    size_t slot_cells_;
    int held_[7];  // which row each slot holds
};

// Rows of the output's gradient, turned for multiply_outer where the cells want that.
template <class Cell>
struct GradientRow {
    GradientRow(const ConvKernels<Cell>& kernels, int columns, int padded, Scratch& scratch)
        : plain(scratch.template take<Cell>((size_t)columns * padded)),
          turned(kernels.turns ? scratch.template take<Cell>(kernels.right_size(columns, padded)) : plain) {}

    void turn(const ConvKernels<Cell>& kernels, int columns, int padded) {
        if (kernels.turns) kernels.turn_right(plain, columns, padded, turned);
    }

    Cell *plain, *turned;
};

// Calls body(begin, end) for tiles of at most tile_width columns.
template <class Body>
void for_tiles(int width, const Body& body) {
    for (int begin = 0; begin < width; begin += tile_width) body(begin, std::min(width, begin + tile_width));
}

}  // namespace dipedge
