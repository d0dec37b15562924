#include "engine/tail.h"

#include <algorithm>
#include <numeric>

#include "engine/conv_tile.h"
#include "residual_loss/cpu.h"

namespace dipedge {

template <class Cell>
Tail<Cell>::Tail(Layer<Cell>& last, int outputs, bool sigmoid, DataTerm term, Arena& arena, int operation,
                 const Sampling* sampling)
    : last_(last), outputs_(outputs), sigmoid_(sigmoid), term_(term), sampling_(sampling) {
    const Geometry& size = last.size;
    const size_t pixels = sampling ? (size_t)sampling->full_height() * sampling->full_width() : size.pixels();
    whole_ = arena.add_persistent(pixels * outputs);
    out_ = sampling ? arena.add(size.pixels() * outputs, operation) : whole_;
    gradient_ = arena.add(size.pixels() * outputs, operation);
    size_t target_floats = term.kind == DataTerm::outer ? 0 : pixels * outputs;
    if (term.kind == DataTerm::mask) known_ = mask_ = arena.add_persistent(pixels);
    if (term.kind == DataTerm::lanczos) {
        decimation_ = std::make_unique<LanczosDecimation>(size.frame_height(), size.width, outputs,
                                                          term.scale, term.lobes);
        target_floats = (size_t)size.frames * decimation_->out_height() * decimation_->out_width() * outputs;
        low_ = arena.add(target_floats, operation);
        low_gradient_ = arena.add(target_floats, operation);
        workspace_ = arena.add(decimation_->workspace_floats(), operation);
    }
    wanted_ = target_ = arena.add_persistent(target_floats);
    if (sampling) {
        wanted_ = arena.add(size.pixels() * outputs, operation);
        if (mask_) known_ = arena.add(size.pixels(), operation);
    }
    const int slabs = Slabs(size).count;
    partials_.resize((size_t)slabs * (weight_floats() + outputs));
    losses_.resize(slabs);
}

template <class Cell>
void Tail<Cell>::set_parameters(const float* weights, const float* bias, float* dweights, float* dbias) {
    weights_ = weights;
    bias_ = bias;
    dweights_ = dweights;
    dbias_ = dbias;
}

template <class Cell>
void Tail<Cell>::head_row(const Context& context, int row, int begin, int end) const {
    const Norm& norm = last_.norm;
    const size_t pixel = (size_t)row * last_.size.width + begin;
    context.of<Cell>().tail->head(last_.y->template as<Cell>() + pixel * last_.size.padded, end - begin,
                                  last_.size.padded, norm.scale.data(), norm.shift.data(), last_.slope,
                                  weights_, bias_, outputs_, sigmoid_, out_->data + pixel * outputs_);
}

template <class Cell>
void Tail<Cell>::backward_row(const Context& context, int slab, int row, int begin, int end) {
    const Norm& norm = last_.norm;
    const size_t pixel = (size_t)row * last_.size.width + begin;
    float* gradient = gradient_->data + pixel * outputs_;
    float* dw = partials_.data() + slab * (weight_floats() + outputs_);
    if (sigmoid_) {
        context.of<Cell>().tail->sigmoid_backward(out_->data + pixel * outputs_,
                                                  (size_t)(end - begin) * outputs_, gradient);
    }
    context.of<Cell>().tail->head_backward(
        last_.y->template as<Cell>() + pixel * last_.size.padded, gradient, end - begin, last_.size.padded,
        norm.scale.data(), norm.shift.data(), last_.slope, weights_, outputs_, norm.spread.data(),
        norm.centre.data(), dw, dw + weight_floats(), last_.norm.slab_sums(slab));
}

template <class Cell>
void Tail<Cell>::pack_gradient(const Kernels& kernels, int row, int begin, int end, Cell* to) const {
    const Norm& norm = last_.norm;
    const size_t pixel = (size_t)row * last_.size.width + begin;
    kernels.of<Cell>().tail->head_gradient(last_.y->template as<Cell>() + pixel * last_.size.padded,
                                           gradient_->data + pixel * outputs_, end - begin, last_.size.padded,
                                           norm.scale.data(), norm.shift.data(), last_.slope, weights_,
                                           outputs_, norm.a.data(), norm.b.data(), norm.c.data(), to);
}

template <class Cell>
void Tail<Cell>::gather_target(const Context& context) {
    const Geometry& size = last_.size;
    context.pool->run(size.height, [&](int row, int) {
        const size_t from = (size_t)sampling_->rows()[row] * sampling_->full_width();
        float* to = wanted_->data + (size_t)row * size.width * outputs_;
        for (int x = 0; x < size.width; ++x) {
            const size_t pixel = from + sampling_->columns()[x];
            for (int o = 0; o < outputs_; ++o) *to++ = target_->data[pixel * outputs_ + o];
            if (mask_) known_->data[(size_t)row * size.width + x] = mask_->data[pixel];
        }
    });
}

// Never two rows into one: where an odd side ends, a pair has one row only.
template <class Cell>
void Tail<Cell>::scatter_output(const Context& context) {
    const Geometry& size = last_.size;
    context.pool->run(size.height, [&](int row, int) {
        const size_t to = (size_t)sampling_->rows()[row] * sampling_->full_width();
        const float* from = out_->data + (size_t)row * size.width * outputs_;
        for (int x = 0; x < size.width; ++x) {
            const size_t pixel = to + sampling_->columns()[x];
            for (int o = 0; o < outputs_; ++o) whole_->data[pixel * outputs_ + o] = *from++;
        }
    });
}

template <class Cell>
void Tail<Cell>::forward(const Context& context) {
    const Slabs slabs(last_.size);
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            head_row(context, row, 0, last_.size.width);
        }
    });
}

template <class Cell>
void Tail<Cell>::complete(const Context& context) {
    forward(context);
    scatter_output(context);
}

// All ways back are this one, whoever makes the gradient by a tile of the output: make_gradient(slab, row, begin,
// end) leaves it in gradient_. So the same gradient gives the same bits.
template <class Cell>
template <class MakeGradient>
void Tail<Cell>::run_backward(const Context& context, const MakeGradient& make_gradient) {
    const Slabs slabs(last_.size);
    last_.norm.clear_sums();
    std::fill(partials_.begin(), partials_.end(), 0.0f);
    context.pool->run(slabs.count, [&](int slab, int) {
        for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
            for_tiles(last_.size.width, [&](int begin, int end) {
                make_gradient(slab, row, begin, end);
                backward_row(context, slab, row, begin, end);
            });
        }
    });
    finish(slabs);
}

template <class Cell>
void Tail<Cell>::run(const Context& context) {
    const float factor = (float)(2.0 / wanted_->floats);
    std::fill(losses_.begin(), losses_.end(), 0.0);
    if (term_.kind == DataTerm::lanczos) {
        forward(context);
        lanczos_residual(context, factor);
        run_backward(context, [](int, int, int, int) {});
    } else {
        if (sampling_) gather_target(context);
        run_backward(context, [&](int slab, int row, int begin, int end) {
            const size_t pixel = (size_t)row * last_.size.width + begin;
            head_row(context, row, begin, end);
            losses_[slab] += context.of<Cell>().tail->residual(
                out_->data + pixel * outputs_, wanted_->data + pixel * outputs_,
                known_ ? known_->data + pixel : nullptr, end - begin, outputs_, factor,
                gradient_->data + pixel * outputs_);
        });
        if (sampling_) scatter_output(context);
    }
    loss_ = std::accumulate(losses_.begin(), losses_.end(), 0.0) / wanted_->floats;
}

template <class Cell>
void Tail<Cell>::backward(const Context& context, const float* gradient) {
    run_backward(context, [&](int, int row, int begin, int end) {
        const size_t first = ((size_t)row * last_.size.width + begin) * outputs_;
        std::copy_n(gradient + first, (size_t)(end - begin) * outputs_, gradient_->data + first);
    });
}

template <class Cell>
void Tail<Cell>::lanczos_residual(const Context& context, float factor) {
    for (int frame = 0; frame < last_.size.frames; ++frame) {
        decimation_->forward(context, out_->data + frame * frame_floats(out_), workspace_->data,
                             low_->data + frame * frame_floats(low_));
    }
    losses_[0] = context.of<Cell>().tail->residual(low_->data, target_->data, nullptr,
                                                   (int)(target_->floats / outputs_), outputs_, factor,
                                                   low_gradient_->data);
    for (int frame = 0; frame < last_.size.frames; ++frame) {
        decimation_->adjoint(context, low_gradient_->data + frame * frame_floats(low_gradient_),
                             workspace_->data, gradient_->data + frame * frame_floats(gradient_));
    }
}

template <class Cell>
void Tail<Cell>::finish(const Slabs& slabs) {
    std::fill(dweights_, dweights_ + weight_floats(), 0.0f);
    std::fill(dbias_, dbias_ + outputs_, 0.0f);
    for (int slab = 0; slab < slabs.count; ++slab) {
        const float* partial = partials_.data() + slab * (weight_floats() + outputs_);
        for (size_t i = 0; i < weight_floats(); ++i) dweights_[i] += partial[i];
        for (int o = 0; o < outputs_; ++o) dbias_[o] += partial[weight_floats() + o];
    }
    last_.norm.finish_backward();
}

template <class Cell>
void Tail<Cell>::average(const Context& context, float weight, float* average) const {
    const int parts = 16;
    const size_t share = (out_floats() + parts - 1) / parts;
    context.pool->run(parts, [&](int part, int) {
        const size_t begin = std::min(part * share, out_floats());
        const size_t end = std::min(begin + share, out_floats());
        context.of<Cell>().tail->average(whole_->data + begin, weight, end - begin, average + begin);
    });
}

template class Tail<float>;
template class Tail<bf16>;

}  // namespace dipedge
