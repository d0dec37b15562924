// The network's end: head, sigmoid, data term and running average, and the gradient back to the last layer.
#pragma once

#include <memory>

#include "engine/decimate.h"
#include "engine/layer.h"
#include "engine/sampling.h"

namespace dipedge {

// Which data term, as in dipedge/tasks. Of an outer one nothing is known here: somebody else computes the loss and
// its gradient by the output.
struct DataTerm {
    enum Kind { identity, mask, lanczos, outer } kind = identity;
    int scale = 1, lobes = 2;
};

// What a program needs of a tail, whatever the cells of the layers before it.
class AnyTail {
  public:
    virtual ~AnyTail() = default;
    virtual size_t out_floats() const = 0;
    virtual size_t target_floats() const = 0;
    virtual float* out() const = 0;
    virtual float* target() const = 0;
    virtual float* mask() const = 0;  // null when the data term has none
    virtual double loss() const = 0;

    // average = average * weight + out * (1 - weight)
    virtual void average(const Context& context, float weight, float* average) const = 0;
};

template <class Cell>
class Tail : public AnyTail {
  public:
    // Adds its buffers to the arena; `operation` is the number of its one operation. With a `sampling` the last
    // layer has the sampled pixels only; output, target and mask are whole pictures all the same. Such a data
    // term must be pointwise.
    Tail(Layer<Cell>& last, int outputs, bool sigmoid, DataTerm term, Arena& arena, int operation,
         const Sampling* sampling = nullptr);

    // weights [outputs][padded], bias [outputs].
    void set_parameters(const float* weights, const float* bias, float* dweights, float* dbias);

    size_t weight_floats() const { return (size_t)outputs_ * last_.size.padded; }
    size_t out_floats() const override { return whole_->floats; }
    size_t target_floats() const override { return target_->floats; }
    float* out() const override { return whole_->data; }
    float* target() const override { return target_->data; }
    float* mask() const override { return mask_ ? mask_->data : nullptr; }

    // Forward, loss, and the sums of the gradient by the last layer's normalised output, whose norm is
    // finished. That gradient itself is made where it is used:
    void run(const Context& context);

    // The two halves of run() for a loss that is not computed here. `gradient` by the output [pixels, outputs] is
    // read while the second half runs, and not kept.
    void forward(const Context& context);
    void backward(const Context& context, const float* gradient);

    // Forward only, of a sampled picture: puts these pixels into the output.
    void complete(const Context& context);

    // Writes the gradient by the last layer's y under pixels [begin, end) of a row.
    void pack_gradient(const Kernels& kernels, int row, int begin, int end, Cell* to) const;

    // What pack_gradient reads.
    Buffer* logit_gradient() const { return gradient_; }
    const Layer<Cell>& last() const { return last_; }

    double loss() const override { return loss_; }

    void average(const Context& context, float weight, float* average) const override;

  private:
    void head_row(const Context& context, int row, int begin, int end) const;
    void backward_row(const Context& context, int slab, int row, int begin, int end);
    void gather_target(const Context& context);
    void scatter_output(const Context& context);
    size_t frame_floats(const Buffer* picture) const { return picture->floats / last_.size.frames; }
    void lanczos_residual(const Context& context, float factor);
    template <class MakeGradient>
    void run_backward(const Context& context, const MakeGradient& make_gradient);
    void finish(const Slabs& slabs);

    Layer<Cell>& last_;
    int outputs_;
    bool sigmoid_;
    DataTerm term_;
    std::unique_ptr<LanczosDecimation> decimation_;
    const Sampling* sampling_;
    // What the step computes with: whole pictures, or the sampled pixels of whole_, target_ and mask_.
    Buffer *out_, *wanted_, *known_ = nullptr, *gradient_;
    Buffer *whole_, *target_, *mask_ = nullptr;
    Buffer *low_ = nullptr, *low_gradient_ = nullptr, *workspace_ = nullptr;  // super-resolution only
    const float *weights_ = nullptr, *bias_ = nullptr;
    float *dweights_ = nullptr, *dbias_ = nullptr;
    std::vector<float> partials_;  // per slab: dweights, dbias
    std::vector<double> losses_;   // per slab
    double loss_ = 0;
};

}  // namespace dipedge
