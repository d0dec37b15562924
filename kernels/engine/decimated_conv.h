// A convolution and the decimation behind it as one operation: see kernels/lanczos_conv.
#pragma once

#include "engine/conv.h"
#include "engine/filter_axis.h"

namespace dipedge {

// y = decimate(conv(source)), both sides divided by the filter's step. The full-size picture is never made,
// nor is its gradient: the source is filtered instead, and a step^2-th of the pixels multiplied.
template <class Cell>
class DecimatedConv : public Conv<Cell> {
  public:
    using Conv<Cell>::depth;
    using Conv<Cell>::out;
    using Conv<Cell>::packed;
    using Conv<Cell>::shape;
    using Conv<Cell>::source;
    using typename Conv<Cell>::Tile;

    DecimatedConv(Source<Cell>& source, int out_channels, int kernel, bool reflect,
                  const DecimationFilter& filter);

    size_t scratch_bytes() const override;

  protected:
    bool pointwise() const override { return false; }
    void forward_tile(const Context& context, const Tile& tile, Buffer* y, Norm* norm,
                      Scratch scratch) override;
    void weight_tile(const Context& context, const OutputGradient<Cell>& from, const Tile& tile, int first_ky,
                     int last_ky, float* dw, Scratch scratch) override;
    void input_gradient(const Context& context, const OutputGradient<Cell>& from, bool first,
                        bool last) override;

  private:
    void input_tile(const Context& context, const OutputGradient<Cell>& from, int first_slab, int slab_count,
                    int begin, int end, bool first, bool last, Scratch scratch);

    FilterAxis rows_, columns_;
};

}  // namespace dipedge
