#include "engine/pool.h"

#include <algorithm>

#include "conv_norm_act/cpu.h"
#include "pool/cpu.h"

namespace dipedge {
namespace {

// In its frame.
bool has_row_below(int row, const Geometry& size) { return (row + 1) % size.frame_height() != 0; }

}  // namespace

template <class Cell>
void pool_forward(const Context& context, const Geometry& in, const Buffer* from, Layer<Cell>& layer,
                  Norm* norm) {
    const size_t row_cells = (size_t)in.width * in.padded;
    const size_t out_cells = (size_t)layer.size.width * in.padded;
    const Slabs slabs(layer.size);
    if (norm) norm->clear_sums();
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            const int first = row_before(row, 2, in, layer.size);
            const Cell* top = from->as<Cell>() + first * row_cells;
            const Cell* bottom = has_row_below(first, in) ? top + row_cells : nullptr;
            Cell* to = layer.y->template as<Cell>() + row * out_cells;
            context.of<Cell>().pool->forward(top, bottom, in.width, in.padded, to);
            if (!norm) continue;
            context.of<Cell>().conv->moments(to, in.padded, layer.size.width, in.padded,
                                             norm->slab_sums(slab));
        }
    });
    if (norm) norm->finish_forward();
}

template <class Cell>
size_t pool_scratch_bytes(const Geometry& in) {
    return Scratch::bytes<Cell>((size_t)tile_width * in.padded);
}

template <class Cell>
void pool_adjoint(const Context& context, const Geometry& in, const OutputGradient<Cell>& gradient,
                  const Buffer* from, Buffer* to) {
    const size_t row_cells = (size_t)in.width * in.padded;
    context.pool->run(gradient.size.height, [&](int row, int worker) {
        const int first = row_before(row, 2, in, gradient.size);
        const bool has_bottom = has_row_below(first, in);
        Cell* packed = context.scratch_of(worker).template take<Cell>((size_t)tile_width * in.padded);
        for (int begin = 0; begin < gradient.size.width; begin += tile_width) {
            const int end = std::min(begin + tile_width, gradient.size.width);
            const size_t offset = first * row_cells + (size_t)2 * begin * in.padded;
            const Cell* top = from->as<Cell>() + offset;
            Cell* d_top = to->as<Cell>() + offset;
            gradient.pack(*context.kernels, row, begin, end, packed);
            context.of<Cell>().pool->backward(packed, top, has_bottom ? top + row_cells : nullptr,
                                              std::min(2 * end, in.width) - 2 * begin, in.padded, d_top,
                                              has_bottom ? d_top + row_cells : nullptr);
        }
    });
}

template void pool_forward(const Context&, const Geometry&, const Buffer*, Layer<float>&, Norm*);
template void pool_forward(const Context&, const Geometry&, const Buffer*, Layer<bf16>&, Norm*);
template size_t pool_scratch_bytes<float>(const Geometry&);
template size_t pool_scratch_bytes<bf16>(const Geometry&);
template void pool_adjoint(const Context&, const Geometry&, const OutputGradient<float>&, const Buffer*,
                           Buffer*);
template void pool_adjoint(const Context&, const Geometry&, const OutputGradient<bf16>&, const Buffer*,
                           Buffer*);

}  // namespace dipedge
