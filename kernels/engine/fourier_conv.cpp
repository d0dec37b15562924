#include "engine/fourier_conv.h"

#include <algorithm>

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"
#include "fourier_mlp/cpu.h"

namespace dipedge {

template <class Cell>
FourierConv<Cell>::FourierConv(Encoding<Cell>& encoding, int out_channels, int stride,
                               const Sampling* sampling)
    : Conv<Cell>(encoding.source(), out_channels, ConvShape{1, stride, true}),
      encoding_(encoding),
      sampling_(sampling),
      columns_{encoding.columns(), {}, {}, nullptr, {}},
      rows_{encoding.rows(), {}, {}, nullptr, {}} {
    if (sampling) this->resize(sampling->height(), sampling->width());
    for (Axis* axis : {&columns_, &rows_}) {
        const bool across = axis == &columns_;
        const Geometry& in = encoding.source().size;
        const int per_frame = across ? out().width : out().frame_height();
        const int apart = across ? in.width : in.frame_height();
        for (int i = 0; i < out().frames * per_frame; ++i) {
            axis->positions.push_back(i / per_frame * apart + i % per_frame * stride);
        }
        axis->values.resize(axis->positions.size() * axis->width());
        axis->gradient.resize(axis->values.size());
    }
    packed_.resize(this->weight_floats());
    column_part_.resize(out().frames * frame_floats());
    row_part_.resize((size_t)out().height * out().padded);
    row_sums_.resize(row_part_.size());
}

template <class Cell>
FourierConv<Cell>::FourierConv(Encoding<Cell>& encoding, int out_channels, const DecimationFilter& filter)
    : FourierConv(encoding, out_channels, filter.step) {
    for (Axis* axis : {&columns_, &rows_}) {
        axis->filter = std::make_unique<FilterAxis>(axis->table.count, filter, 1, true, out().frames);
        for (int i = 0; i < axis->count(); ++i) axis->positions[i] = axis->filter->first(i);
    }
}

// The column sums of every slab.
template <class Cell>
size_t FourierConv<Cell>::partial_floats() const {
    return Slabs(out()).count * column_part_.size();
}

template <class Cell>
size_t FourierConv<Cell>::scratch_bytes() const {
    return Scratch::bytes<Cell>((size_t)tile_width * out().padded);
}

template <class Cell>
void FourierConv<Cell>::pack_weights(const Context& context) {
    size_t at = 0;
    for (const Axis* axis : {&columns_, &rows_}) {
        context.kernels->fp32.conv->pack(this->weights() + at, out().padded, axis->width(), out().padded,
                                         packed_.data() + at);
        at += (size_t)axis->width() * out().padded;
    }
}

// The tables are rows and columns of the picture: plain loops.
template <class Cell>
void FourierConv<Cell>::gather(Axis& axis) const {
    const int width = axis.width();
    std::fill(axis.values.begin(), axis.values.end(), 0.0f);
    for (int i = 0; i < axis.count(); ++i) {
        float* to = axis.values.data() + (size_t)i * width;
        for (int q = 0; q < axis.window(); ++q) {
            const float* from = axis.table.entry(axis.positions[i] + q);
            const float weight = (float)axis.weight(i, q);
            for (int k = 0; k < width; ++k) to[k] += weight * from[k];
        }
    }
}

template <class Cell>
void FourierConv<Cell>::forward(const Context& context, Buffer* y, Norm* norm) {
    if (sampling_) {
        rows_.positions = sampling_->rows();
        for (int i = 0; i < columns_.count(); ++i) {
            columns_.positions[i] =
                i / out().width * sampling_->full_width() + sampling_->columns()[i % out().width];
        }
    }
    gather(columns_);
    gather(rows_);
    const Tap<float> column_tap{columns_.values.data(), packed_.data()};
    const Tap<float> row_tap{rows_.values.data(), packed_.data() + (size_t)columns_.width() * out().padded};
    const ConvKernels<float>& kernels = *context.kernels->fp32.conv;
    kernels.multiply(&column_tap, 1, columns_.width(), out().padded, columns_.count(), columns_.width(),
                     column_part_.data(), out().padded, false);
    kernels.multiply(&row_tap, 1, rows_.width(), out().padded, rows_.count(), rows_.width(), row_part_.data(),
                     out().padded, false);
    if (norm) norm->clear_sums();
    const Slabs slabs(out());
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(out().width, [&](int begin, int end) {
                Cell* to = y->as<Cell>() + ((size_t)row * out().width + begin) * out().padded;
                context.of<Cell>().fourier->add_row(column_row(row) + (size_t)begin * out().padded,
                                                    row_part_.data() + (size_t)row * out().padded,
                                                    end - begin, out().padded, to);
                if (norm) {
                    context.of<Cell>().conv->moments(to, out().padded, end - begin, out().padded,
                                                     norm->slab_sums(slab));
                }
            });
        }
    });
    if (norm) norm->finish_forward();
}

template <class Cell>
void FourierConv<Cell>::backward(const Context& context, const OutputGradient<Cell>& from, Buffer* partials,
                                 bool, bool) {
    const Slabs slabs(out());
    const size_t floats = column_part_.size();
    context.pool->run(slabs.count, [&](int slab, int worker) {
        float* columns = partials->data + slab * floats;
        Cell* gradient_row =
            context.scratch_of(worker).template take<Cell>((size_t)tile_width * out().padded);
        const size_t frame = frame_floats();
        const int first = frame_of(slabs.begin(slab)), after = frame_of(slabs.end(slab) - 1) + 1;
        // The first slab's sums become everybody's; the others' are their own frames' alone.
        std::memset(columns + (slab ? first * frame : 0), 0,
                    sizeof(float) * (slab ? (after - first) * frame : floats));
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            float* frame_columns = columns + frame_of(row) * frame;
            float* row_sum = row_sums_.data() + (size_t)row * out().padded;
            std::memset(row_sum, 0, sizeof(float) * out().padded);
            for_tiles(out().width, [&](int begin, int end) {
                from.pack(*context.kernels, row, begin, end, gradient_row);
                context.of<Cell>().fourier->reduce_row(gradient_row, end - begin, out().padded,
                                                       frame_columns + (size_t)begin * out().padded, row_sum);
            });
        }
    });
    for (int slab = 1; slab < slabs.count; ++slab) {
        const size_t first = frame_of(slabs.begin(slab)) * frame_floats();
        const size_t after = (frame_of(slabs.end(slab) - 1) + 1) * frame_floats();
        context.kernels->fp32.conv->add(partials->data + slab * floats + first, after - first,
                                        partials->data + first);
    }
    std::memset(this->gradient(), 0, sizeof(float) * this->weight_floats());
    add_weight_gradient(context, columns_, partials->data, 0);
    add_weight_gradient(context, rows_, row_sums_.data(), columns_.width());
}

// Weights: features^T * sums. Features, when frequencies are learned: sums * weights^T.
template <class Cell>
void FourierConv<Cell>::add_weight_gradient(const Context& context, Axis& axis, const float* sums,
                                            int first_row) {
    const int count = axis.count(), width = axis.width();
    const size_t offset = (size_t)first_row * out().padded;
    context.kernels->fp32.conv->multiply_outer(axis.values.data(), count, width, 1, 0, width, sums,
                                               out().padded, count, this->gradient() + offset, out().padded);
    if (!encoding_.spec().learned) return;
    context.pool->run(count, [&](int position, int) {
        const float* sum = sums + (size_t)position * out().padded;
        for (int k = 0; k < width; ++k) {
            const float* w = this->weights() + offset + (size_t)k * out().padded;
            double total = 0;
            for (int c = 0; c < out().channels; ++c) total += (double)w[c] * sum[c];
            axis.gradient[(size_t)position * width + k] = total;
        }
    });
    add_table_gradient(axis);
}

// From the values to the entries they came from; windows overlap, so on one thread.
template <class Cell>
void FourierConv<Cell>::add_table_gradient(const Axis& axis) const {
    const int width = axis.width();
    for (int i = 0; i < axis.count(); ++i) {
        const double* from = axis.gradient.data() + (size_t)i * width;
        for (int q = 0; q < axis.window(); ++q) {
            double* to = axis.table.gradient.data() + (size_t)(axis.positions[i] + q) * width;
            for (int k = 0; k < width; ++k) to[k] += axis.weight(i, q) * from[k];
        }
    }
}

template class FourierConv<float>;
template class FourierConv<bf16>;

}  // namespace dipedge
