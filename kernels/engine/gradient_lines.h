// The transpose of FilteredRows: the gradient by every row of points, for a tile of source columns.
#pragma once

#include <algorithm>

#include "engine/conv.h"
#include "engine/filter_axis.h"
#include "lanczos_conv/cpu.h"

namespace dipedge {

// A line is the gradient by one row of points, spread across to the source's columns. A ring holds all lines
// that one source row takes part in. Behind it, a ring of rows of the gradient by the output.
template <class Cell>
class GradientLines {
  public:
    // Columns [begin, end) of the source.
    GradientLines(const Kernels& kernels, const OutputGradient<Cell>& from, const Conv<Cell>& conv,
                  const FilterAxis& rows, const FilterAxis& columns, int begin, int end, Scratch& scratch)
        : kernels_(kernels),
          from_(from),
          conv_(conv),
          rows_(rows),
          columns_(columns),
          begin_(begin),
          end_(end),
          first_(columns.first_output(begin, end)),
          count_(columns.last_output(begin, end) + 1 - first_),
          pixel_(conv.source().size.padded) {
        lines_ = scratch.take<float>(line_floats() * rows.span());
        held_ = scratch.take<int>(rows.span());
        gradients_ = scratch.take<Cell>(gradient_cells() * rows.kernel());
        points_ = scratch.take<float>((size_t)count_ * columns.kernel() * pixel_);
        std::fill_n(held_, rows.span(), -1);
        std::fill_n(held_gradient_, rows.kernel(), -1);
    }

    size_t line_floats() const { return (size_t)(end_ - begin_) * pixel_; }

    // What this takes up for at most `width` source columns.
    static size_t bytes(const Conv<Cell>& conv, const FilterAxis& rows, const FilterAxis& columns,
                        int width) {
        const size_t pixel = conv.source().size.padded;
        const size_t outputs = (width + columns.window() + columns.kernel()) / columns.step() + 2;
        return Scratch::bytes<float>(width * pixel * rows.span()) + Scratch::bytes<int>(rows.span()) +
               Scratch::bytes<Cell>(outputs * conv.out().padded * rows.kernel()) +
               Scratch::bytes<float>(outputs * columns.kernel() * pixel);
    }

    const float* line(int point) {
        const int slot = point % rows_.span();
        float* to = lines_ + slot * line_floats();
        if (held_[slot] != point) {
            multiply(point);
            fold();
            spread(to);
            held_[slot] = point;
        }
        return to;
    }

  private:
    size_t gradient_cells() const { return (size_t)count_ * conv_.out().padded; }

    // The gradient by the points [output column][tap column] of a row: one output row's, or the sum over the
    // output rows that share it.
    void multiply(int point) {
        const int k = rows_.kernel();
        int output, ky, members = 0;
        rows_.owner(point, output, ky);
        Tap<Cell> taps[7];
        int tap_rows[7];
        for (;; ++output, ky -= rows_.step()) {
            tap_rows[members] = ky;
            taps[members++].pixels = gradient(output);
            const bool more = output + 1 < rows_.outputs() && ky >= rows_.step() &&
                              ky - rows_.step() < rows_.shared(output + 1);
            if (!more) break;
        }
        for (int kx = 0; kx < k; ++kx) {
            for (int i = 0; i < members; ++i) taps[i].weights = conv_.packed_transposed(tap_rows[i] * k + kx);
            kernels_.of<Cell>().conv->multiply(taps, members, conv_.out().channels, pixel_, count_,
                                               conv_.out().padded, points_ + (size_t)kx * pixel_,
                                               (ptrdiff_t)k * pixel_, false);
        }
    }

    // Adds what neighbouring outputs share to the first of them.
    void fold() const {
        const size_t output_floats = (size_t)columns_.kernel() * pixel_;
        for (int x = count_ - 1; x > 0; --x) {
            const size_t common = (size_t)columns_.shared(first_ + x) * pixel_;
            const float* own = points_ + x * output_floats;
            if (common) kernels_.fp32.conv->add(own, common, points_ + x * output_floats - common);
        }
    }

    void spread(float* to) const {
        kernels_.fp32.filter->gather(points_ - (ptrdiff_t)first_ * columns_.kernel() * pixel_,
                                     columns_.use_begin() + begin_, columns_.use_place(),
                                     columns_.use_weight(), end_ - begin_, pixel_, to);
    }

    const Cell* gradient(int output) {
        const int slot = output % rows_.kernel();
        Cell* to = gradients_ + slot * gradient_cells();
        if (held_gradient_[slot] != output) from_.pack(kernels_, output, first_, first_ + count_, to);
        held_gradient_[slot] = output;
        return to;
    }

    const Kernels& kernels_;
    const OutputGradient<Cell>& from_;
    const Conv<Cell>& conv_;
    const FilterAxis &rows_, &columns_;
    int begin_, end_, first_, count_, pixel_;
    float *lines_, *points_;
    Cell* gradients_;
    int* held_;
    int held_gradient_[7];  // which output row each slot holds
};

}  // namespace dipedge
