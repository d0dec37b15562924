// The filtered source rows that a decimated convolution multiplies: the points of one output row's taps, for
// a tile of output columns.
#pragma once

#include <algorithm>
#include <cstring>

#include "engine/conv.h"
#include "engine/filter_axis.h"
#include "lanczos_conv/cpu.h"

namespace dipedge {

// Two rings of rows. The lower one holds source rows, normalised, activated and with their border, so that
// each is made once; the upper one the last `kernel` rows of points, filtered down and then across. A row of
// points is [output column][tap column] pixels of source.padded cells.
template <class Cell>
class FilteredRows {
  public:
    // Columns [begin, end) of the output; with `turned`, rows are as multiply_outer wants them.
    FilteredRows(const Kernels& kernels, const Source<Cell>& source, const FilterAxis& rows,
                 const FilterAxis& columns, bool reflect_border, int begin, int end, bool turned,
                 Scratch& scratch)
        : kernels_(kernels),
          source_(source),
          rows_(rows),
          columns_(columns),
          reflect_(reflect_border),
          begin_(begin),
          end_(end) {
        const ConvKernels<Cell>& conv = *kernels.of<Cell>().conv;
        left_ = columns.first(begin);
        right_ = columns.first(end - 1) + columns.window() + columns.kernel() - 1;
        turns_ = turned && conv.turns;
        slot_cells_ = (size_t)pixels() * source.size.padded;
        if (turns_) {
            plain_ = scratch.take<Cell>(slot_cells_);
            slot_cells_ = conv.left_size(pixels(), source.size.padded, step());
        }
        slots_ = scratch.take<Cell>(slot_cells_ * rows.kernel());
        source_rows_ = scratch.take<Cell>(row_cells() * source_slots());
        held_source_ = scratch.take<int>(source_slots());
        summed_ = scratch.take<const Cell*>(rows.window());
        factors_ = scratch.take<float>(rows.window());
        mixed_ = scratch.take<float>(row_cells());
        scratch_ = scratch.take<char>(source.scratch_bytes());
        std::fill_n(held_source_, source_slots(), -1);
        std::fill_n(held_, rows.kernel(), -1);
    }

    // Pixels in a row, and between neighbouring outputs in it: tap kx of output x is pixel x * step() + kx.
    int pixels() const { return (end_ - begin_) * step(); }
    int step() const { return columns_.kernel(); }

    // What all of this takes up for at most `columns_at_once` output columns.
    static size_t bytes(const Source<Cell>& source, const FilterAxis& rows, const FilterAxis& columns,
                        int columns_at_once) {
        const size_t pixel = source.size.padded;
        const size_t wide = columns_at_once * columns.step() + columns.window() + columns.kernel();
        const size_t points = (columns_at_once + 64) * columns.kernel() * pixel;
        return (rows.kernel() + 1) * Scratch::bytes<Cell>(points) +
               (rows.window() + rows.kernel()) * Scratch::bytes<Cell>(wide * pixel) +
               3 * Scratch::bytes<const Cell*>(rows.window() + rows.kernel()) +
               Scratch::bytes<float>(wide * pixel) + source.scratch_bytes() + 128;
    }

    // The points of output row `output` at tap row `ky`.
    const Cell* row(int output, int ky) {
        const int point = rows_.point(output, ky), slot = point % rows_.kernel();
        Cell* to = slots_ + slot * slot_cells_;
        if (held_[slot] != point) {
            filter_down(output, ky);
            filter_across(turns_ ? plain_ : to);
            if (turns_) {
                kernels_.of<Cell>().conv->turn_left(plain_, pixels(), source_.size.padded, step(), to);
            }
            held_[slot] = point;
        }
        return to;
    }

  private:
    // Columns of the source with its border: column number `margin` is the picture's first.
    size_t row_cells() const { return (size_t)(right_ - left_) * source_.size.padded; }
    int source_slots() const { return rows_.window() + rows_.kernel() - 1; }
    int margin() const { return (rows_.kernel() - 1) / 2; }

    void filter_down(int output, int ky) {
        int count = 0;
        for (int q = 0; q < rows_.window(); ++q) {
            const int bordered = rows_.first(output) + q + ky, row = bordered - margin();
            const bool outside = row < 0 || row >= source_.size.height;
            if (outside && !reflect_) continue;
            factors_[count] = rows_.weights(output)[q];
            summed_[count++] = source_row(bordered, outside ? reflect(row, source_.size.height) : row);
        }
        kernels_.of<Cell>().filter->sum_rows(summed_, factors_, count, row_cells(), mixed_);
    }

    // Points that an output has in common with its left neighbour are copied.
    void filter_across(Cell* to) const {
        const size_t pixel = source_.size.padded, output_cells = (size_t)step() * pixel;
        for (int x = begin_; x < end_; ++x, to += output_cells) {
            const int known = x > begin_ ? columns_.shared(x) : 0;
            std::memcpy(to, to - known * pixel, sizeof(Cell) * known * pixel);
            kernels_.of<Cell>().filter->slide(mixed_ + (size_t)(columns_.first(x) + known - left_) * pixel,
                                              columns_.weights(x), columns_.window(), step() - known,
                                              (int)pixel, to + known * pixel);
        }
    }

    const Cell* source_row(int bordered, int row) {
        const int slot = bordered % source_slots();
        Cell* to = source_rows_ + slot * row_cells();
        if (held_source_[slot] != bordered) fill(row, to);
        held_source_[slot] = bordered;
        return to;
    }

    void fill(int row, Cell* to) const {
        const int width = source_.size.width, first = left_ - margin(), last = right_ - margin();
        const size_t pixel = source_.size.padded;
        const int from = std::max(first, 0), until = std::min(last, width);
        for (int x = from; x < until; x += tile_width) {  // as wide as sources are made for
            source_.pack(kernels_, row, x, std::min(x + tile_width, until), 1,
                         to + (size_t)(x - first) * pixel, (ptrdiff_t)pixel, Scratch((float*)scratch_));
        }
        for (int x = first; x < 0; ++x) copy_border(x, to);
        for (int x = width; x < last; ++x) copy_border(x, to);
    }

    // What a column beyond the picture shows always lies in the same tile, as in RowRing.
    void copy_border(int x, Cell* to) const {
        const int first = left_ - margin();
        const size_t pixel = source_.size.padded;
        Cell* target = to + (size_t)(x - first) * pixel;
        if (reflect_) {
            std::memcpy(target, to + (size_t)(reflect(x, source_.size.width) - first) * pixel,
                        sizeof(Cell) * pixel);
        } else {
            std::memset(target, 0, sizeof(Cell) * pixel);
        }
    }

    const Kernels& kernels_;
    const Source<Cell>& source_;
    const FilterAxis &rows_, &columns_;
    bool reflect_, turns_;
    int begin_, end_, left_, right_;
    size_t slot_cells_;
    Cell *plain_ = nullptr, *slots_, *source_rows_;
    const Cell** summed_;
    float *factors_, *mixed_;
    int* held_source_;
    char* scratch_;
    int held_[7];  // which point each slot holds
};

}  // namespace dipedge
