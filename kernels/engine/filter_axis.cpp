#include "engine/filter_axis.h"

#include <algorithm>

#include "engine/decimate.h"

namespace dipedge {

DecimationFilter lanczos_filter(int scale, int lobes) {
    return {lanczos_weights(scale, lobes, scale % 2 == 0), scale};
}

// A window cut off by an odd side holds its pixel twice when the border is replicated: the same average.
DecimationFilter average_filter() { return {{0.5, 0.5}, 2}; }

FilterAxis::FilterAxis(int inputs, const DecimationFilter& filter, int kernel, bool reflect, int frames)
    : inputs_(inputs),
      kernel_(kernel),
      step_(filter.step),
      frames_(frames),
      outputs_(frames * ((inputs / frames + filter.step - 1) / filter.step)),
      window_(std::min(inputs / frames, (int)filter.weights.size())) {
    place_windows(filter);
    number_points(filter);
    list_uses(reflect);
}

// What falls beyond the frame counts for its last pixel, so that a window may always lie inside.
void FilterAxis::place_windows(const DecimationFilter& filter) {
    std::vector<double> sums;
    for (int output = 0; output < outputs_; ++output) {
        const int begin = in_frame(output) * filter.step - filter.start();
        const int first = std::clamp(begin, 0, frame_inputs() - window_);
        first_.push_back(frame_begin(output) + first);
        sums.assign(window_, 0.0);
        for (int q = 0; q < (int)filter.weights.size(); ++q) {
            sums[std::clamp(begin + q, 0, frame_inputs() - 1) - first] += filter.weights[q];
        }
        weights_.insert(weights_.end(), sums.begin(), sums.end());
    }
}

void FilterAxis::number_points(const DecimationFilter& filter) {
    const auto regular = [&](int output) {
        if (output < 0) return false;
        const int begin = in_frame(output) * filter.step - filter.start();
        return begin >= 0 && begin + (int)filter.weights.size() <= frame_inputs();
    };
    for (int output = 0; output < outputs_; ++output) {
        const bool moved = in_frame(output) > 0 && regular(output) && regular(output - 1);
        shared_.push_back(moved ? std::max(kernel_ - filter.step, 0) : 0);
        point_.push_back((int)owner_.size() - shared_[output]);
        for (int tap = shared_[output]; tap < kernel_; ++tap) owner_.push_back(output * kernel_ + tap);
    }
}

void FilterAxis::list_uses(bool reflect_border) {
    struct Use {
        int place, point;
        double weight;
    };
    std::vector<std::vector<Use>> uses(inputs_);
    first_output_.assign(inputs_, outputs_);
    last_output_.assign(inputs_, -1);
    for (int output = 0; output < outputs_; ++output) {
        for (int i = 0; i < kernel_ * window_; ++i) {
            const int tap = i / window_, q = i % window_, seen = first_[output] + q + tap - (kernel_ - 1) / 2;
            const bool outside = seen < 0 || seen >= inputs_;
            if ((outside && !reflect_border) || weights(output)[q] == 0) continue;
            const int input = outside ? reflect(seen, inputs_) : seen;
            first_output_[input] = std::min(first_output_[input], output);
            last_output_[input] = std::max(last_output_[input], output);
            if (tap < shared_[output]) continue;
            std::vector<Use>& list = uses[input];
            if (list.empty() || list.back().point != point(output, tap)) {
                list.push_back({output * kernel_ + tap, point(output, tap), 0.0});
            }
            list.back().weight += weights(output)[q];
        }
    }
    for (const std::vector<Use>& list : uses) {
        use_begin_.push_back((int)use_place_.size());
        for (const Use& use : list) {
            use_place_.push_back(use.place);
            use_point_.push_back(use.point);
            use_weight_.push_back((float)use.weight);
        }
        most_uses_ = std::max(most_uses_, (int)list.size());
        if (!list.empty()) span_ = std::max(span_, list.back().point - list.front().point + 1);
    }
    use_begin_.push_back((int)use_place_.size());
}

int FilterAxis::first_output(int begin, int end) const {
    return *std::min_element(first_output_.begin() + begin, first_output_.begin() + end);
}

int FilterAxis::last_output(int begin, int end) const {
    return *std::max_element(last_output_.begin() + begin, last_output_.begin() + end);
}

}  // namespace dipedge
