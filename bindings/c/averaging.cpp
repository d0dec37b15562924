// Every product and sum is rounded by itself, as numpy does: this file is compiled without fused
// multiply-adds.
#include "bindings/c/averaging.h"

#include <algorithm>
#include <cmath>

namespace dipedge::c_api {
namespace {

// Later outputs count more, since each is better than those before: output n weighs (1 + growth) / (n +
// growth) ("polynomial-decay averaging", Shamir and Zhang, 2013).
constexpr double growth = 7;

struct Tap {
    int offset;
    float weight;
};

// Lanczos with three lobes at `t` in [0, 1), summing to 1; dipedge/streaming/resampling.py.
std::vector<Tap> lanczos_taps(double t) {
    constexpr int lobes = 3;
    constexpr double pi = 3.14159265358979323846;
    if (t == 0) return {{0, 1.0f}};
    const auto sinc = [](double x) { return x == 0 ? 1.0 : std::sin(pi * x) / (pi * x); };
    double weights[2 * lobes], sum = 0;
    for (int i = 0; i < 2 * lobes; ++i) {
        const double away = 1 - lobes + i - t;
        sum += weights[i] = sinc(away) * sinc(away / lobes);
    }
    std::vector<Tap> taps;
    for (int i = 0; i < 2 * lobes; ++i) taps.push_back({1 - lobes + i, (float)(weights[i] / sum)});
    return taps;
}

// picture(i + by) along an axis of `side` places, with `inner` values each and `outer` such runs.
std::vector<float> moved_along(const float* picture, size_t outer, int side, size_t inner, double by) {
    const double whole = std::floor(by);
    std::vector<float> result(outer * side * inner);
    bool first = true;
    for (const Tap& tap : lanczos_taps(by - whole)) {
        for (size_t run = 0; run < outer; ++run) {
            for (int i = 0; i < side; ++i) {
                const double place = std::min(std::max(i + whole + tap.offset, 0.0), (double)side - 1);
                const float* from = picture + (run * side + (size_t)place) * inner;
                float* to = result.data() + (run * side + i) * inner;
                for (size_t k = 0; k < inner; ++k) {
                    const float part = from[k] * tap.weight;
                    to[k] = first ? part : to[k] + part;
                }
            }
        }
        first = false;
    }
    return result;
}

}  // namespace

std::vector<float> moved(const float* picture, const Size& size, double dx, double dy) {
    const size_t colours = (size_t)size.colours();
    auto result = moved_along(picture, 1, size.height, size.width * colours, dy);
    result = moved_along(result.data(), (size_t)size.height, size.width, colours, dx);
    for (float& value : result) value = std::min(std::max(value, 0.0f), 1.0f);
    return result;
}

void YoungAverage::look(Program& program) {
    if (grown_up_) return;
    ++count_;
    const double share = (1 + growth) / ((double)count_ + growth);
    const float* output = program.tail().out();
    if (mean_.empty()) {
        mean_.assign(output, output + program.out_floats());
    } else {
        for (size_t i = 0; i < mean_.size(); ++i) {
            const float change = (output[i] - mean_[i]) * (float)share;
            mean_[i] += change;
        }
    }
    if (share <= 1 - weight_) {
        settle(program);
        grown_up_ = true;
    }
}

void YoungAverage::settle(Program& program) const {
    if (!grown_up_) std::copy(mean_.begin(), mean_.end(), program.averaged());
}

void YoungAverage::move(const Size& size, double dx, double dy) {
    if (!grown_up_ && !mean_.empty()) mean_ = moved(mean_.data(), size, dx, dy);
}

}  // namespace dipedge::c_api
