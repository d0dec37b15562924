// The kernels around a level's convolutions: upsample_merge, residual_loss, pool and decimation alone.
#include <algorithm>

#include "bindings/kernel_bench.h"
#include "engine/conv_tile.h"
#include "engine/decimate.h"
#include "engine/merge.h"
#include "engine/parameters.h"
#include "engine/pool.h"
#include "engine/tail.h"

namespace dipedge {
namespace {

// deep and skip are layers, normalised and activated when read; skip may be missing.
template <class Cell>
class UpsampleMerge : public KernelBench {
  public:
    UpsampleMerge(const Inputs& inputs, const Where& where)
        : KernelBench(where), deep_(inputs, "deep", arena_) {
        if (inputs.has("skip")) skip_ = std::make_unique<GivenLayer<Cell>>(inputs, "skip", arena_);
        const bool bilinear = inputs.option<std::string>("mode", "bilinear") == "bilinear";
        int height = inputs.option("height", 1), width = inputs.option("width", 1);
        if (inputs.option("sampled", false)) {  // the pixels of a fit's first step with seed 0
            sampling_ = std::make_unique<Sampling>(height, width);
            height = sampling_->height(), width = sampling_->width();
        }
        merge_ = std::make_unique<Merge<Cell>>(deep_.layer, skip_ ? &skip_->layer : nullptr, height, width,
                                               bilinear, inputs.option("eps", 1e-5f), sampling_.get());
        vectors_ =
            std::make_unique<NormVectors>(inputs.array("gamma"), inputs.array("beta"), *merge_, merge_->norm);
        dy_ = arena_.add_persistent(merge_->size.cells());
        for (Buffer** picture : {&merge_->d, &y_, &gradient_}) {
            *picture = add_cells<Cell>(arena_, merge_->size);
        }
        place(std::max(2 * merge_->scratch_bytes(), merge_->backward_scratch_bytes()));
        fill(inputs.array("dy"), *merge_, dy_->data);
        deep_.take_statistics(context_);
        if (skip_) skip_->take_statistics(context_);
    }

    // The statistics, then every row as the next convolution asks for it.
    void forward() override {
        merge_->forward(context_);
        for_each_tile([&](int, int row, int begin, int end, Scratch scratch) {
            Cell* to = y_->as<Cell>() + ((size_t)row * merge_->size.width + begin) * merge_->size.padded;
            merge_->pack(*context_.kernels, row, begin, end, 1, to, merge_->size.padded, scratch);
        });
    }

    // The first pass is done by the next convolution's backward, tile by tile.
    void backward() override {
        merge_->norm.clear_sums();
        for_each_tile([&](int slab, int row, int begin, int end, Scratch scratch) {
            const size_t offset = ((size_t)row * merge_->size.width + begin) * merge_->size.padded;
            merge_->receive(*context_.kernels, slab, row, begin, end, dy_->data + offset, merge_->size.padded,
                            true, true, scratch);
        });
        merge_->norm.finish_backward();
        merge_->backward(context_);
    }

    Results results() override {
        Results found;
        found["y"] = unpadded(y_->as<Cell>(), *merge_);
        found["dgamma"] = vectors_->gamma_gradient();
        found["dbeta"] = vectors_->beta_gradient();
        for (GivenLayer<Cell>* layer : {&deep_, skip_.get()}) {
            if (!layer) continue;
            layer->gradient_by_y(context_, gradient_->as<Cell>());
            layer->add_results(found, gradient_->as<Cell>());
        }
        return found;
    }

  private:
    template <class Body>
    void for_each_tile(const Body& body) {
        const Slabs slabs(merge_->size);
        pool_.run(slabs.count, [&](int slab, int worker) {
            for (int row = slabs.begin(slab); row < slabs.end(slab); ++row) {
                for_tiles(merge_->size.width, [&](int begin, int end) {
                    body(slab, row, begin, end, context_.scratch_of(worker));
                });
            }
        });
    }

    GivenLayer<Cell> deep_;
    std::unique_ptr<GivenLayer<Cell>> skip_;
    std::unique_ptr<Sampling> sampling_;
    std::unique_ptr<Merge<Cell>> merge_;
    std::unique_ptr<NormVectors> vectors_;
    Buffer *y_, *dy_, *gradient_;
};

// The tail over a layer y; `average` is moved on by every forward().
template <class Cell>
class ResidualLoss : public KernelBench {
  public:
    ResidualLoss(const Inputs& inputs, const Where& where)
        : KernelBench(where),
          last_(inputs, "y", arena_),
          outputs_((int)inputs.array("bias").size()),
          average_weight_(inputs.option("average_weight", 0.99f)) {
        const Geometry& size = last_.layer.size;
        const auto kind = inputs.option<std::string>("kind", "identity");
        DataTerm term{DataTerm::identity, inputs.option("scale", 1), inputs.option("lobes", 2)};
        if (kind == "mask") term.kind = DataTerm::mask;
        if (kind == "lanczos") term.kind = DataTerm::lanczos;
        tail_ = std::make_unique<Tail<Cell>>(last_.layer, outputs_, inputs.option("sigmoid", true), term,
                                             arena_, 0);
        parameters_.add_head("weight", outputs_, size.channels, size.padded);
        parameters_.allocate(arena_);
        average_ = arena_.add_persistent(tail_->out_floats());
        gradient_ = add_cells<Cell>(arena_, size);
        bias_ = inputs.vector("bias", outputs_);
        dbias_.resize(outputs_);
        place(0);
        const Parameter& weight = parameters_.all()[0];
        Parameters::write(weight, inputs.vector("weight", weight.count()).data(), parameters_.values);
        tail_->set_parameters(parameters_.values->data, bias_.data(), parameters_.gradients->data,
                              dbias_.data());
        std::copy_n(inputs.vector("target", tail_->target_floats()).data(), tail_->target_floats(),
                    tail_->target());
        std::copy_n(inputs.vector("average", average_->floats).data(), average_->floats, average_->data);
        if (tail_->mask()) {
            std::copy_n(inputs.vector("mask", size.pixels()).data(), size.pixels(), tail_->mask());
        }
        last_.take_statistics(context_);
    }

    void forward() override {
        tail_->run(context_);
        tail_->average(context_, average_weight_, average_->data);
    }

    // As the convolution before the tail asks for it.
    void backward() override {
        const Geometry& size = last_.layer.size;
        const size_t row_cells = (size_t)size.width * size.padded;
        pool_.run(size.height, [&](int row, int) {
            tail_->pack_gradient(*context_.kernels, row, 0, size.width,
                                 gradient_->as<Cell>() + row * row_cells);
        });
    }

    Results results() override {
        const Geometry& size = last_.layer.size;
        const std::vector<ptrdiff_t> shape{size.height, size.width, outputs_};
        Results found;
        found["x"] = copy_of(tail_->out(), shape);
        found.numbers["loss"] = tail_->loss();
        found["dlogit"] = copy_of(tail_->logit_gradient()->data, shape);
        found["average"] = copy_of(average_->data, shape);
        FloatArray dweight({outputs_, size.channels, 1, 1});
        Parameters::read(parameters_.all()[0], parameters_.gradients, dweight.mutable_data());
        found["dweight"] = dweight;
        found["dbias"] = copy_of(dbias_.data(), {outputs_});
        last_.add_results(found, gradient_->as<Cell>());
        return found;
    }

  private:
    GivenLayer<Cell> last_;
    int outputs_;
    float average_weight_;
    std::unique_ptr<Tail<Cell>> tail_;
    Parameters parameters_;
    FloatArray bias_;
    std::vector<float> dbias_;
    Buffer *average_, *gradient_;
};

// The 2x2 maxima of x [H, W, C], and the gradient "dy" back.
template <class Cell>
class Pool : public KernelBench {
  public:
    Pool(const Inputs& inputs, const Where& where)
        : KernelBench(where),
          in_(inputs.picture<Cell>("x")),
          made_(inputs, Conv<Cell>::output_size(in_, in_.channels, 2), arena_) {
        for (Buffer** picture : {&x_, &dx_}) *picture = add_cells<Cell>(arena_, in_);
        place(pool_scratch_bytes<Cell>(in_));
        fill(inputs.array("x"), InputSource<Cell>(in_), x_->as<Cell>());
        made_.fill_gradient();
    }
    void forward() override { pool_forward(context_, in_, x_, made_.layer, made_.norm()); }
    void backward() override { pool_adjoint(context_, in_, made_.gradient(context_), x_, dx_); }
    Results results() override {
        Results found;
        made_.add_results(found, context_);
        found["dx"] = unpadded(dx_->as<Cell>(), InputSource<Cell>(in_));
        return found;
    }

  private:
    Geometry in_;
    MadeLayer<Cell> made_;
    Buffer *x_, *dx_;
};

// Decimation of x by "scale"; its channels are not padded, as in the data term.
class Lanczos : public KernelBench {
  public:
    Lanczos(const Inputs& inputs, const Where& where)
        : KernelBench(where),
          in_(inputs.picture<float>("x")),
          decimation_(in_.height, in_.width, in_.channels, inputs.option("scale", 2),
                      inputs.option("lobes", 2)) {
        const size_t in_floats = in_.pixels() * in_.channels;
        const size_t out_floats = (size_t)decimation_.out_height() * decimation_.out_width() * in_.channels;
        for (Buffer** picture : {&x_, &dx_}) *picture = arena_.add_persistent(in_floats);
        for (Buffer** picture : {&y_, &dy_}) *picture = arena_.add_persistent(out_floats);
        workspace_ = arena_.add_persistent(decimation_.workspace_floats());
        place(0);
        std::copy_n(inputs.array("x").data(), in_floats, x_->data);
        std::copy_n(inputs.vector("dy", out_floats).data(), out_floats, dy_->data);
    }
    void forward() override { decimation_.forward(context_, x_->data, workspace_->data, y_->data); }
    void backward() override { decimation_.adjoint(context_, dy_->data, workspace_->data, dx_->data); }
    Results results() override {
        Results found;
        found["y"] = copy_of(y_->data, {decimation_.out_height(), decimation_.out_width(), in_.channels});
        found["dx"] = copy_of(dx_->data, {in_.height, in_.width, in_.channels});
        return found;
    }

  private:
    Geometry in_;
    LanczosDecimation decimation_;
    Buffer *x_, *y_, *dx_, *dy_, *workspace_;
};

}  // namespace

std::unique_ptr<KernelBench> make_upsample_merge(const Inputs& inputs, const Where& where) {
    return make_with_cells<UpsampleMerge>(inputs, where);
}

std::unique_ptr<KernelBench> make_residual_loss(const Inputs& inputs, const Where& where) {
    return make_with_cells<ResidualLoss>(inputs, where);
}

std::unique_ptr<KernelBench> make_pool(const Inputs& inputs, const Where& where) {
    return make_with_cells<Pool>(inputs, where);
}

std::unique_ptr<KernelBench> make_decimation(const Inputs& inputs, const Where& where) {
    return std::make_unique<Lanczos>(inputs, where);
}

}  // namespace dipedge
