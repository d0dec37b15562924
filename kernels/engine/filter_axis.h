// One side of "convolve, then decimate" as one sparse matrix, and its transpose.
//
// Decimating a convolution's result is convolving a filtered input: along one side
//
//     y[j] = sum_i u[j][i] c[i],  c[i] = sum_a w[a] x[R(i + a - p)]
//          = sum_a w[a] b[j][a],  b[j][a] = sum_i u[j][i] x[R(i + a - p)]
//
// whatever R does at the border (reflect, or zero) and however u is clamped there. The b[j][a] are called
// points. Away from the border u only moves along, u[j][i] = v[i - t j], and then b[j][a] = b[j+1][a-t]: the
// two are one point. At the border an output's points are its own; that is all the border costs.
#pragma once

#include <cstddef>
#include <vector>

namespace dipedge {

// Output j of a decimation sums weights[q] x[clamp(j * step - start() + q)].
struct DecimationFilter {
    std::vector<double> weights;
    int step = 2;
    int start() const { return ((int)weights.size() - step) / 2; }
};

DecimationFilter lanczos_filter(int scale, int lobes);
DecimationFilter average_filter();  // of the one or two inputs that are there

class FilterAxis {
  public:
    // `inputs` pixels, convolved by `kernel` taps with a reflected (or zero) border, then decimated. They may be
    // those of several frames, each decimated for itself; the kernel must then be 1.
    FilterAxis(int inputs, const DecimationFilter& filter, int kernel, bool reflect, int frames = 1);

    int outputs() const { return outputs_; }
    int kernel() const { return kernel_; }
    int step() const { return step_; }

    // Output j sums `window` values of the convolution, from number first(j) on.
    int window() const { return window_; }
    int first(int output) const { return first_[output]; }
    const float* weights(int output) const { return weights_.data() + (size_t)output * window_; }

    // Points are numbered along the side.
    int point(int output, int tap) const { return point_[output] + tap; }

    // How many leading points output j has in common with the trailing ones of output j - 1.
    int shared(int output) const { return shared_[output]; }

    // The transpose: which points input i takes part in, entries [uses(i), uses(i + 1)) of the lists. A
    // shared point is listed once, by the first of its outputs.
    int uses(int input) const { return use_begin_[input]; }
    const int* use_begin() const { return use_begin_.data(); }
    const int* use_place() const { return use_place_.data(); }  // output * kernel + tap
    const int* use_point() const { return use_point_.data(); }
    const float* use_weight() const { return use_weight_.data(); }
    int most_uses() const { return most_uses_; }

    // The largest distance between two points of one input, and one.
    int span() const { return span_; }

    // Outputs [first, last] whose points hold any of the inputs [begin, end).
    int first_output(int begin, int end) const;
    int last_output(int begin, int end) const;

    // The output by which a point is listed, and its tap there.
    void owner(int point, int& output, int& tap) const {
        output = owner_[point] / kernel_;
        tap = owner_[point] % kernel_;
    }

  private:
    void place_windows(const DecimationFilter& filter);
    void number_points(const DecimationFilter& filter);
    void list_uses(bool reflect);

    // Of a frame; an output's number in it, and where its inputs begin.
    int frame_inputs() const { return inputs_ / frames_; }
    int frame_outputs() const { return outputs_ / frames_; }
    int in_frame(int output) const { return output % frame_outputs(); }
    int frame_begin(int output) const { return output / frame_outputs() * frame_inputs(); }

    int inputs_, kernel_, step_, frames_, outputs_, window_;
    std::vector<int> first_, point_, shared_, owner_;
    std::vector<float> weights_;
    std::vector<int> use_begin_, use_place_, use_point_;
    std::vector<float> use_weight_;
    std::vector<int> first_output_, last_output_;  // per input
    int most_uses_ = 0, span_ = 1;
};

}  // namespace dipedge
