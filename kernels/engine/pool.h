// 2x2 maxima of a convolution's result, a full-size picture in memory: which pixel is the largest is known only
// when all four are there, and backward asks again.
#pragma once

#include "engine/conv.h"

namespace dipedge {

// layer.y = the maxima of `from`, a picture of size `in`; adds up the layer's moments and finishes its norm
// where `norm` is not null.
template <class Cell>
void pool_forward(const Context& context, const Geometry& in, const Buffer* from, Layer<Cell>& layer,
                  Norm* norm);

// What pool_adjoint takes per worker.
template <class Cell>
size_t pool_scratch_bytes(const Geometry& in);

// From the gradient by the maxima to that by `from`, into `to`.
template <class Cell>
void pool_adjoint(const Context& context, const Geometry& in, const OutputGradient<Cell>& gradient,
                  const Buffer* from, Buffer* to);

}  // namespace dipedge
