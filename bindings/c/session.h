// What dipedge/session.py and dipedge/fit.py do around a program: the first frame from scratch, further ones
// from there.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/c/averaging.h"
#include "bindings/c/pixels.h"
#include "bindings/c/presets.h"
#include "bindings/c/stopping.h"

namespace dipedge::c_api {

// The loss is no longer a number.
struct Diverged : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The processor does not have what was asked for.
struct CannotRun : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// dipedge.h's options in words and numbers, not checked yet.
struct Settings {
    Size frame{0, 0, 3};
    std::string task, prior, quality, preset, isa;  // no isa: DIPEDGE_ISA, or the best
    enum Precision { automatic, fp32, bf16 } precision = automatic;
    int scale = 1, threads = 0;  // 0: all processors of this process
    bool keep_known = true;
    int64_t steps = 0;
    uint64_t seed = 0;
    double sigma = 0, learning_rate = 0, average = -1;
};

struct Outcome {
    Reason reason = Reason::none;
    int64_t steps = 0, chosen_step = 0;
    double seconds = 0, loss = 0;
};

// Not for several threads at once, but for interrupt(). Methods throw what program.h, pixels.h and the above
// say, and std::invalid_argument for what cannot be used.
class Session {
  public:
    explicit Session(const Settings& settings);

    const Size& frame() const { return settings_.frame; }
    Size answer() const { return {spec_.height, spec_.width, settings_.frame.channels}; }
    const char* isa() const { return spec_.isa.c_str(); }
    bool half() const { return spec_.half; }
    size_t memory_bytes() const { return memory_bytes_; }
    const Outcome& outcome() const { return outcome_; }

    void set_mask(const unsigned char* mask, size_t row_bytes);  // nonzero = known
    void set_stop(int64_t steps, double deadline_ms);            // 0: not counted
    // Of a frame after the first its pixel (0, 0) is the last one's pixel (dx, dy).
    void push(const void* frame, Type type, size_t row_bytes, double dx, double dy);
    void check_motion(double dx, double dy) const;  // throws where it cannot be followed
    void read(void* answer, Type type, size_t row_bytes) const;
    void restart() noexcept { fitted_ = false; }
    void interrupt() noexcept { interrupted_.store(true); }

  private:
    void begin(bool whole);
    void move(double dx, double dy);
    void set_target();
    double noise() const;
    Outcome fit(const Rule& rule, double begun);

    Settings settings_;
    PresetRow row_;
    ProgramSpec spec_;
    std::unique_ptr<Program> program_;  // none after a fit that diverged, until the next begins
    size_t memory_bytes_;
    Rule pushed_;  // set_stop's
    std::unique_ptr<YoungAverage> young_;
    double view_x_ = 0, view_y_ = 0;  // the last frame's pixel (0, 0) in the scene, in pixels of the answer
    double step_seconds_ = -1;        // what a step takes, by the frames before; not known yet
    bool fitted_ = false;             // whether the next frame goes on from the last
    Picture picture_, next_;          // of the last frame, and where the next is taken in
    std::vector<unsigned char> mask_;
    double known_ = 1;  // share of the pixels that the data term counts
    std::vector<float> target_, best_;
    Outcome outcome_;
    std::atomic<bool> interrupted_{false};
};

}  // namespace dipedge::c_api
