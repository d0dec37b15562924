// When a fit ends: dipedge/stopping.py and dipedge/variance.py, looked at after every step.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "bindings/c/presets.h"

namespace dipedge::c_api {

enum class Reason { none, steps, deadline, variance, discrepancy, interrupted };  // numbers as in dipedge.h

// Rules of which the first that is fulfilled ends the fit; a zero leaves one out, as in StopRow.
struct Rule {
    StopRow row{};
    double seconds = 0;  // a deadline

    static Rule after(int64_t steps) { return within(steps, 0); }
    static Rule within(int64_t steps, double seconds) {
        Rule rule;
        rule.row.limit = steps;
        rule.seconds = seconds;
        return rule;
    }
};

// What a fit shows after a step.
struct Observation {
    int64_t index;        // steps of this fit, from 1
    double seconds;       // since it began
    double step_seconds;  // what a step takes, as far as frames before have told; 0 if they have not
    double residual;      // mean squared difference over the known values
    const float* output;  // [pixels][channels], the last raw output
    size_t pixels;
    int channels;
};

// Ends when the mean of the last residuals has fallen to a share of the picture's noise.
class NoiseWatch {
  public:
    NoiseWatch(const NoiseRow& row, const std::function<double()>& noise) : row_(row), noise_(noise) {}
    bool update(const Observation& seen);
    void rewind() { recent_.clear(); }

  private:
    NoiseRow row_;
    std::function<double()> noise_;  // the variance; 0 where there is no knowing
    double level_ = -1;              // not asked yet
    std::deque<double> recent_;
};

// The variance of the last `window` outputs at some pixels, moved along by one output at a time. Outputs are
// kept as 16-bit integers, so that taking the oldest off again is exact.
class MovingVariance {
  public:
    MovingVariance(int window, std::vector<uint32_t> pixels, int channels);

    // The variance with this output, negative while the window is not full.
    double add(const float* output);
    void clear();

  private:
    size_t window_;
    std::vector<uint32_t> pixels_;
    size_t channels_;
    std::deque<std::vector<uint16_t>> outputs_;
    std::vector<double> sum_;
    double squares_ = 0;
};

// Ends at the first confirmed minimum of that variance, and marks the lowest step so far.
class VarianceWatch {
  public:
    explicit VarianceWatch(const VarianceRow& row) : row_(row) {}
    bool update(const Observation& seen);
    void rewind();
    bool keep() const { return keep_; }

  private:
    VarianceRow row_;
    std::unique_ptr<MovingVariance> variance_;
    std::deque<double> recent_;
    double lowest_ = 1e300;
    int64_t since_ = 0;
    bool keep_ = false;
};

// Ends before the deadline, as far as steps can be foreseen: the next is taken to last as long as those
// before.
class DeadlineWatch {
  public:
    explicit DeadlineWatch(double seconds) : seconds_(seconds) {}
    bool update(const Observation& seen);

  private:
    double seconds_;
    int64_t first_index_ = 0;
    double first_seconds_ = 0;  // steps are timed from the first on: preparing is not part of one
};

// All rules of one fit.
class Watch {
  public:
    // `noise` gives the variance of the frame's noise, and is asked once, if at all.
    Watch(const Rule& rule, const std::function<double()>& noise);
    Reason update(const Observation& seen);
    void rewind();  // the fit has gone back to earlier weights
    bool keep() const { return variance_ && variance_->keep(); }

  private:
    int64_t limit_;
    std::unique_ptr<NoiseWatch> noise_;
    std::unique_ptr<VarianceWatch> variance_;
    std::unique_ptr<DeadlineWatch> deadline_;
};

// `wanted` of the numbers below `total`, ascending: numpy's default_rng(0).choice without replacement,
// sorted.
std::vector<uint32_t> sampled_pixels(size_t total, size_t wanted);

}  // namespace dipedge::c_api
