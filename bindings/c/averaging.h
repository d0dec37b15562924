// What the outputs of a stream are averaged over: after a short beginning, and when the camera moves
// (dipedge/streaming/averaging.py).
#pragma once

#include <vector>

#include "bindings/c/pixels.h"
#include "engine/program.h"

namespace dipedge::c_api {

// The average of a fit that has just begun and may be asked for its answer at any step. The engine's own
// would be the grey first output still; this one forgets in proportion to its age, until it forgets as slowly
// as that does.
class YoungAverage {
  public:
    // `weight`: of the past, a step, in the engine's average.
    explicit YoungAverage(double weight) : weight_(weight), grown_up_(weight == 0) {}

    bool grown_up() const { return grown_up_; }

    // Takes in the output of the step just made.
    void look(Program& program);

    // Makes it the program's average.
    void settle(Program& program) const;

    // Brings it along with the camera; see moved().
    void move(const Size& size, double dx, double dy);

  private:
    double weight_;
    bool grown_up_;
    std::vector<float> mean_;
    int64_t count_ = 0;
};

// The last frame's picture [height][width][colours] as the next one sees it, whose pixel (0, 0) is its pixel
// (dx, dy): by Lanczos with three lobes, cut to [0, 1]; beyond the edges the edge is
// repeated. Whole shifts keep every bit.
std::vector<float> moved(const float* picture, const Size& size, double dx, double dy);

}  // namespace dipedge::c_api
