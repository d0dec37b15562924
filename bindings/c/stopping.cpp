#include "bindings/c/stopping.h"

#include <algorithm>
#include <cmath>

namespace dipedge::c_api {

bool NoiseWatch::update(const Observation& seen) {
    if (level_ < 0) level_ = noise_() * row_.share;
    recent_.push_back(seen.residual);
    if ((int)recent_.size() > row_.window) recent_.pop_front();
    if ((int)recent_.size() < row_.window || seen.index < row_.floor) return false;
    double sum = 0;
    for (const double residual : recent_) sum += residual;
    return sum <= level_ * row_.window;
}

namespace {

constexpr float white = 65535;

double sum_of_squares(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value * value;
    return sum;
}

}  // namespace

MovingVariance::MovingVariance(int window, std::vector<uint32_t> pixels, int channels)
    : window_((size_t)window),
      pixels_(std::move(pixels)),
      channels_((size_t)channels),
      sum_(pixels_.size() * channels_) {}

void MovingVariance::clear() {
    outputs_.clear();
    std::fill(sum_.begin(), sum_.end(), 0.0);
    squares_ = 0;
}

double MovingVariance::add(const float* output) {
    std::vector<uint16_t> taken;
    if (outputs_.size() == window_) {
        taken = std::move(outputs_.front());  // its memory is the new one's
        outputs_.pop_front();
        for (size_t i = 0; i < taken.size(); ++i) {
            sum_[i] -= taken[i];
            squares_ -= (double)taken[i] * taken[i];
        }
    }
    taken.resize(sum_.size());
    for (size_t i = 0, at = 0; i < pixels_.size(); ++i) {
        for (size_t c = 0; c < channels_; ++c, ++at) {
            const float rounded = std::nearbyint(output[pixels_[i] * channels_ + c] * white);
            taken[at] = (uint16_t)std::min(std::max(rounded, 0.0f), white);
            sum_[at] += taken[at];
            squares_ += (double)taken[at] * taken[at];
        }
    }
    outputs_.push_back(std::move(taken));
    if (outputs_.size() < window_) return -1;
    const double count = (double)window_;
    const double spread = squares_ - sum_of_squares(sum_) / count;
    return std::max(spread, 0.0) / ((count - 1) * (double)sum_.size() * (double)white * white);
}

bool VarianceWatch::update(const Observation& seen) {
    keep_ = false;
    if (!variance_) {
        variance_ = std::make_unique<MovingVariance>(
            row_.window, sampled_pixels(seen.pixels, (size_t)row_.pixels), seen.channels);
    }
    const double variance = variance_->add(seen.output);
    if (variance < 0) return false;
    recent_.push_back(variance);
    if ((int)recent_.size() > row_.window) recent_.pop_front();
    if ((int)recent_.size() < row_.window || seen.index < row_.floor) return false;
    double level = 0;
    for (const double one : recent_) level += one;
    level /= (double)recent_.size();
    if (level < lowest_) {
        lowest_ = level, since_ = 0, keep_ = true;
        return false;
    }
    return ++since_ >= row_.patience;
}

// Outputs of weights that were given up must not be compared with those that follow; a minimum that was found
// stays.
void VarianceWatch::rewind() {
    if (variance_) variance_->clear();
    recent_.clear();
}

bool DeadlineWatch::update(const Observation& seen) {
    if (!first_index_) first_index_ = seen.index, first_seconds_ = seen.seconds;
    const int64_t steps = seen.index - first_index_;
    const double step_seconds = steps ? (seen.seconds - first_seconds_) / (double)steps : seen.step_seconds;
    return seen.seconds + step_seconds >= seconds_;
}

Watch::Watch(const Rule& rule, const std::function<double()>& noise) : limit_(rule.row.limit) {
    if (rule.row.noise.share > 0) noise_ = std::make_unique<NoiseWatch>(rule.row.noise, noise);
    if (rule.row.variance.window) variance_ = std::make_unique<VarianceWatch>(rule.row.variance);
    if (rule.seconds > 0) deadline_ = std::make_unique<DeadlineWatch>(rule.seconds);
}

// Every rule sees every step; of several that are fulfilled together the reason is that of the first.
Reason Watch::update(const Observation& seen) {
    const bool noise = noise_ && noise_->update(seen), variance = variance_ && variance_->update(seen);
    const bool deadline = deadline_ && deadline_->update(seen);
    if (noise) return Reason::discrepancy;
    if (variance) return Reason::variance;
    if (limit_ && seen.index >= limit_) return Reason::steps;
    return deadline ? Reason::deadline : Reason::none;
}

void Watch::rewind() {
    if (noise_) noise_->rewind();
    if (variance_) variance_->rewind();
}

}  // namespace dipedge::c_api
