#include "engine/fourier_conv.h"

#include "conv_norm_act/cpu.h"
#include "engine/conv_tile.h"
#include "fourier_mlp/cpu.h"

namespace dipedge {

template <class Cell>
FourierConv<Cell>::FourierConv(Encoding<Cell>& encoding, int out_channels, int stride)
    : Conv<Cell>(encoding.source(), out_channels, ConvShape{1, stride, true}), encoding_(encoding) {
    packed_.resize(this->weight_floats());
    column_part_.resize((size_t)out().width * out().padded);
    row_part_.resize((size_t)out().height * out().padded);
    row_sums_.resize(row_part_.size());
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
    const size_t half_floats = (size_t)half() * out().padded;
    for (int part = 0; part < 2; ++part) {
        context.kernels->fp32.conv->pack(this->weights() + part * half_floats, out().padded, half(),
                                         out().padded, packed_.data() + part * half_floats);
    }
}

template <class Cell>
void FourierConv<Cell>::forward(const Context& context, Buffer* y, Norm* norm) {
    const ptrdiff_t step = (ptrdiff_t)shape().stride * half();
    const size_t half_floats = (size_t)half() * out().padded;
    const Tap<float> column_tap{encoding_.columns().values.data(), packed_.data()};
    const Tap<float> row_tap{encoding_.rows().values.data(), packed_.data() + half_floats};
    const ConvKernels<float>& kernels = *context.kernels->fp32.conv;
    kernels.multiply(&column_tap, 1, half(), out().padded, out().width, step, column_part_.data(),
                     out().padded, false);
    kernels.multiply(&row_tap, 1, half(), out().padded, out().height, step, row_part_.data(), out().padded,
                     false);
    if (norm) norm->clear_sums();
    const Slabs slabs(out());
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(out().width, [&](int begin, int end) {
                Cell* to = y->as<Cell>() + ((size_t)row * out().width + begin) * out().padded;
                context.of<Cell>().fourier->add_row(column_part_.data() + (size_t)begin * out().padded,
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
        std::memset(columns, 0, sizeof(float) * floats);
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            float* row_sum = row_sums_.data() + (size_t)row * out().padded;
            std::memset(row_sum, 0, sizeof(float) * out().padded);
            for_tiles(out().width, [&](int begin, int end) {
                from.pack(*context.kernels, row, begin, end, gradient_row);
                context.of<Cell>().fourier->reduce_row(gradient_row, end - begin, out().padded,
                                                       columns + (size_t)begin * out().padded, row_sum);
            });
        }
    });
    for (int slab = 1; slab < slabs.count; ++slab) {
        context.kernels->fp32.conv->add(partials->data + slab * floats, floats, partials->data);
    }
    std::memset(this->gradient(), 0, sizeof(float) * this->weight_floats());
    add_weight_gradient(context, encoding_.columns(), partials->data, out().width, 0);
    add_weight_gradient(context, encoding_.rows(), row_sums_.data(), out().height, half());
}

// Weights: features^T * sums. Features, when frequencies are learned: sums * weights^T.
template <class Cell>
void FourierConv<Cell>::add_weight_gradient(const Context& context, FeatureTable& table, const float* sums,
                                            int count, int first_row) {
    const int stride = shape().stride;
    const size_t offset = (size_t)first_row * out().padded;
    context.kernels->fp32.conv->multiply_outer(table.values.data(), table.count, half(), stride, 0, half(),
                                               sums, out().padded, count, this->gradient() + offset,
                                               out().padded);
    if (!encoding_.spec().learned) return;
    context.pool->run(count, [&](int position, int) {
        const float* sum = sums + (size_t)position * out().padded;
        double* to = table.gradient.data() + (size_t)position * stride * half();
        for (int k = 0; k < half(); ++k) {
            const float* w = this->weights() + offset + (size_t)k * out().padded;
            double total = 0;
            for (int c = 0; c < out().channels; ++c) total += (double)w[c] * sum[c];
            to[k] += total;
        }
    });
}

template class FourierConv<float>;
template class FourierConv<bf16>;

}  // namespace dipedge
