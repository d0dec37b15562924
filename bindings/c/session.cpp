#include "bindings/c/session.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "bindings/c/initial.h"
#include "bindings/c/noise.h"
#include "bindings/program_calls.h"

namespace dipedge::c_api {
namespace {

double now() {
    using std::chrono::duration;
    using std::chrono::steady_clock;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

int available_threads() {
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
#endif
    return std::max(1, (int)std::thread::hardware_concurrency());
}

std::string trimmed(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t\n"), last = text.find_last_not_of(" \t\n");
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

// DIPEDGE_ISA counts where the options leave it open; what cannot run is an error, never replaced.
std::string chosen_isa(const std::string& given) {
    const char* variable = std::getenv("DIPEDGE_ISA");
    const std::string name = given.empty() ? "DIPEDGE_ISA" : "isa";
    const std::string wanted = trimmed(given.empty() && variable ? variable : given);
    const Kernels* kernels = kernels_for(wanted.c_str());
    if (!kernels) throw CannotRun(name + " is '" + wanted + "'; this processor runs " + runnable_isas());
    return kernels->isa;
}

bool uses_bf16(Settings::Precision precision, const std::string& isa) {
    const bool can = kernels_for(isa.c_str())->has_bf16();
    if (precision == Settings::bf16 && !can) {
        throw CannotRun("precision 'bf16' needs a processor that multiplies bf16; instruction set '" + isa +
                        "' does not");
    }
    // In tiles it is four times as fast as float32; in vectors it is slower on some processors.
    return precision == Settings::bf16 || (precision == Settings::automatic && isa == "amx");
}

void check(bool good, const std::string& sentence) {
    if (!good) throw std::invalid_argument(sentence);
}

std::string text(double value) {
    std::string words = std::to_string(value);
    words.erase(words.find_last_not_of('0') + 1);
    return words.back() == '.' ? words.substr(0, words.size() - 1) : words;
}

constexpr int most_side = 65535;  // so that no product of sizes overflows before memory is asked for

void check_settings(const Settings& all) {
    const Size& size = all.frame;
    const bool enlarges = all.task == "superresolve";
    const std::string sides = std::to_string(size.height) + " x " + std::to_string(size.width);
    check(size.height >= 16 && size.width >= 16,
          "frame is " + sides + "; both sides must be 16 pixels or more");
    check(size.height <= most_side && size.width <= most_side,
          "frame is " + sides + "; sides may have " + std::to_string(most_side) + " pixels");
    check(size.channels == 1 || size.channels == 3 || (size.channels == 4 && !enlarges),
          "channels is " + std::to_string(size.channels) + "; it must be 1, 3 or 4" +
              (enlarges ? ", and superresolve enlarges no alpha: 1 or 3" : ""));
    check(!enlarges || all.scale == 2 || all.scale == 3 || all.scale == 4 || all.scale == 8,
          "scale is " + std::to_string(all.scale) + "; it must be one of 2, 3, 4, 8");
    check(all.threads >= 0 && all.threads <= 1024,
          "threads is " + std::to_string(all.threads) + "; it must be 1 to 1024, or 0 for all");
    check(
        all.steps >= 0 && all.steps <= 1000000000,
        "steps is " + std::to_string(all.steps) + "; it must be 1 to 1000000000, or 0 for the preset's rule");
    check(all.seed < (uint64_t)1 << 63, "seed is " + std::to_string(all.seed) + "; it must be below 2^63");
    check(all.sigma >= 0 && all.sigma <= 255,
          "sigma is " + text(all.sigma) + "; it must be above 0 and at most 255, or 0 where it is not known");
    check(all.learning_rate >= 0 && std::isfinite(all.learning_rate),
          "learning_rate is " + text(all.learning_rate) + "; it must be above 0, or 0 for the preset's");
    check(all.average == -1 || (all.average >= 0 && all.average < 1),
          "average is " + text(all.average) + "; it must be in [0, 1), or -1 for the preset's");
}

PresetRow row_of(const Settings& all) {
    std::string regime = all.preset;
    if (all.task == "superresolve") {
        check(regime.empty(), "preset is '" + regime + "'; superresolve takes none: its scale decides");
        regime = all.scale == 8 ? "x8" : "x4";
    } else if (all.task != "inpaint") {
        check(regime.empty(), "preset is '" + regime + "'; " + all.task + " takes none");
    }
    return chosen_row({all.task, regime, all.prior, all.quality, all.steps > 0});
}

// A falling rate is stretched over the steps that will be made (Muon.over in dipedge/optimisers.py). Where a
// half is rounded, both go to the even neighbour.
void stretch_fall(OptimiserSpec& optimiser, int64_t steps) {
    const double whole = optimiser.hold + optimiser.decay;
    if (!steps || optimiser.muon_rate == 0 || whole == 0) return;
    optimiser.hold = std::nearbyint((double)steps * optimiser.hold / whole);
    optimiser.decay = (double)steps - optimiser.hold;
}

ProgramSpec spec_of(const Settings& all, const PresetRow& row) {
    ProgramSpec spec = spec_of(row);
    const bool enlarges = all.task == "superresolve";
    const int scale = enlarges ? all.scale : 1;
    spec.term.kind = enlarges                ? DataTerm::lanczos
                     : all.task == "inpaint" ? DataTerm::mask
                                             : DataTerm::identity;
    spec.term.scale = scale;
    spec.height = all.frame.height * scale, spec.width = all.frame.width * scale;
    spec.channels = all.frame.colours();
    double& rate = spec.optimiser.muon_rate ? spec.optimiser.muon_rate : spec.optimiser.learning_rate;
    if (all.learning_rate > 0) rate = all.learning_rate;
    stretch_fall(spec.optimiser, all.steps);
    if (all.average >= 0) spec.average = (float)all.average;
    spec.seed = all.seed;
    spec.isa = chosen_isa(all.isa);
    spec.half = uses_bf16(all.precision, spec.isa);
    spec.threads = all.threads ? all.threads : available_threads();
    return spec;
}

const Settings& checked(const Settings& settings) {
    check_settings(settings);
    return settings;
}

// Weights put aside while a fit goes well, and taken back when the loss jumps (_Checkpoint in
// dipedge/fit.py). Only weights go back; the optimiser's moments and the average go on.
class Checkpoint {
  public:
    explicit Checkpoint(Program& program) : program_(program) {}

    bool check(int64_t index, double loss) {
        constexpr int every = 100;
        constexpr double jump = 3.1622776601683795;  // 5 dB
        Buffer* values = program_.parameters().values;
        if (!weights_.empty() && loss > jump * loss_) {
            std::copy(weights_.begin(), weights_.end(), values->data);
            program_.weights_changed();
            return true;
        }
        if (index - index_ >= every) {
            weights_.assign(values->data, values->data + values->floats);
            loss_ = loss, index_ = index;
        }
        return false;
    }

  private:
    Program& program_;
    std::vector<float> weights_;
    double loss_ = INFINITY;
    int64_t index_ = 0;
};

// What a frame's steps take, for the frames after it: the newest counts a quarter, since one that was slow by
// chance shall not cost the next ones many steps (dipedge/streaming/pace.py).
class Pace {
  public:
    Pace(double& known, double began) : known_(known), began_(began) {}

    // Seconds of a step as far as they can be foreseen after step `index`. The first sees at least as much as
    // others.
    double foreseen(int64_t index, double seconds) {
        if (index == 1) first_ = seconds;
        steps_ = index, last_ = seconds;
        return known_ < 0 ? 0 : std::min(known_, first_ - began_);
    }

    void finish() {
        if (steps_ < 2) return;
        const double mean = (last_ - first_) / (double)(steps_ - 1);
        known_ = known_ < 0 ? mean : known_ + 0.25 * (mean - known_);
    }

  private:
    double& known_;
    double began_, first_ = 0, last_ = 0;
    int64_t steps_ = 0;
};

}  // namespace

Session::Session(const Settings& settings)
    : settings_(checked(settings)),
      row_(row_of(settings)),
      spec_(spec_of(settings, row_)),
      program_(std::make_unique<Program>(spec_)),
      memory_bytes_(program_->memory_bytes()) {
    best_.reserve(row_.stop.variance.window ? program_->out_floats() : 0);
}

void Session::set_mask(const unsigned char* mask, size_t row_bytes) {
    check(settings_.task == "inpaint", "a mask was given; task '" + settings_.task + "' takes none");
    const Size& size = settings_.frame;
    row_bytes = checked_row_bytes({size.height, size.width, 1}, Type::uint8, row_bytes);
    std::vector<unsigned char> taken(size.pixels());
    size_t known = 0;
    for (int i = 0; i < size.height; ++i) {
        for (int j = 0; j < size.width; ++j) {
            known += taken[(size_t)i * size.width + j] = mask[i * row_bytes + j] != 0;
        }
    }
    check(known > 0, "mask marks every pixel as a hole; at least one must be known (nonzero)");
    mask_ = std::move(taken);
    known_ = (double)known / (double)size.pixels();
}

void Session::set_stop(int64_t steps, double deadline_ms) {
    check(steps >= 0 && steps <= 1000000000,
          "steps is " + std::to_string(steps) + "; it must be 1 to 1000000000, or 0 for no limit");
    check(deadline_ms >= 0 && std::isfinite(deadline_ms),
          "deadline_ms is " + text(deadline_ms) + "; it must be above 0 milliseconds, or 0 for none");
    pushed_ = Rule::within(steps, deadline_ms / 1000);
}

// The start of a fit from scratch. Memory is the last fit's, unless that left NaN there: then what pads
// channels is no longer 0.
void Session::begin(bool whole) {
    if (!program_) program_ = std::make_unique<Program>(spec_);
    Parameters& parameters = program_->parameters();
    for (Buffer* moments : {parameters.means, parameters.squares}) {
        std::memset(moments->data, 0, moments->floats * sizeof(float));
    }
    set_initial_weights(*program_, settings_.seed);
    set_initial_input(*program_, row_, settings_.seed);
    program_->set_steps_done(0);
    if (row_.frequency_count) set_views(*program_, {1, 0, 0, 0, 1, 0, 0});
    view_x_ = view_y_ = 0;
    const double weight = settings_.average >= 0 ? settings_.average : row_.average;
    young_ = whole ? nullptr : std::make_unique<YoungAverage>(weight);
}

void Session::check_motion(double dx, double dy) const {
    check(std::isfinite(dx) && std::isfinite(dy),
          "motion is (" + text(dx) + ", " + text(dy) + "); both numbers must be finite");
    check(row_.frequency_count > 0,
          "motion was given; this prior's input is no function of coordinates, take pip");
}

// The coordinates follow the camera, and with them the past's share in the answer.
void Session::move(double dx, double dy) {
    if (dx == 0 && dy == 0) return;
    const int scale = spec_.term.scale;  // a frame's pixel is so many of the answer's
    dx *= scale, dy *= scale;
    view_x_ += dx, view_y_ += dy;
    set_views(*program_, {1, 0, view_x_, 0, 1, view_y_, 0});
    if (young_ && !young_->grown_up()) {
        young_->move(answer(), dx, dy);
    } else {
        const std::vector<float> average = moved(program_->averaged(), answer(), dx, dy);
        std::copy(average.begin(), average.end(), program_->averaged());
    }
}

void Session::set_target() {
    AnyTail& tail = program_->tail();
    if (!mask_.empty()) std::copy(mask_.begin(), mask_.end(), tail.mask());
    std::transform(picture_.colours.begin(), picture_.colours.end(), tail.target(),
                   [](float value) { return std::min(std::max(value, 0.0f), 1.0f); });
    program_->target_changed();
}

// Of the frame, by its own account or the user's: a given sigma is an upper bound, for clipping takes some
// away.
double Session::noise() const {
    if (spec_.term.kind != DataTerm::identity) return 0;
    const Size& size = settings_.frame;
    const double found = noise_variance(program_->tail().target(), size.height, size.width, size.colours());
    const double given = settings_.sigma / 255;
    return given > 0 ? std::min(found, given * given) : found;
}

void Session::push(const void* frame, Type type, size_t row_bytes, double dx, double dy) {
    const double begun = now();
    check(settings_.task != "inpaint" || !mask_.empty(), "no mask was given; task 'inpaint' needs one");
    take(frame, settings_.frame, type, row_bytes, next_);
    std::swap(picture_, next_);
    Rule rule = pushed_;
    const bool usual = !rule.row.limit && !(rule.seconds > 0);
    if (usual) {
        rule = Rule::after(fitted_ ? steps_of_frame() : settings_.steps);
        if (!fitted_ && !settings_.steps) rule.row = row_.stop;
    }
    interrupted_ = false;
    outcome_ = Outcome();
    if (fitted_) {
        move(dx, dy);
    } else {
        begin(usual);
    }
    set_target();
    fitted_ = false;  // until it has gone well
    try {
        outcome_ = fit(rule, begun);
    } catch (const Diverged&) {
        program_.reset();
        throw;
    }
    fitted_ = true;
}

Outcome Session::fit(const Rule& rule, double begun) {
    Watch watch(rule, [this] { return noise(); });
    Checkpoint checkpoint(*program_);
    best_.clear();
    Pace pace(step_seconds_, now() - begun);
    Outcome made;
    while (made.reason == Reason::none) {
        program_->step(1);
        ++made.steps;
        made.loss = program_->loss();
        if (!std::isfinite(made.loss)) {
            throw Diverged("the loss is " + text(made.loss) + " after step " + std::to_string(made.steps) +
                           "; a smaller learning_rate helps");
        }
        const bool restored = row_.backtrack && checkpoint.check(made.steps, made.loss);
        const Size size = answer();
        const double seconds = now() - begun;
        made.reason =
            watch.update({made.steps, seconds, pace.foreseen(made.steps, seconds), made.loss / known_,
                          program_->tail().out(), size.pixels(), size.colours()});
        if (restored) watch.rewind();
        if (watch.keep()) {
            best_.assign(program_->averaged(), program_->averaged() + program_->out_floats());
            made.chosen_step = made.steps;
        }
        if (young_) young_->look(*program_);
        if (made.reason == Reason::none && interrupted_) made.reason = Reason::interrupted;
    }
    pace.finish();
    if (young_) young_->settle(*program_);
    if (best_.empty()) made.chosen_step = made.steps;
    made.seconds = now() - begun;
    return made;
}

void Session::read(void* answer, Type type, size_t row_bytes) const {
    check(outcome_.reason != Reason::none, "no frame has been restored yet; there is no answer");
    const bool keeps = settings_.task == "inpaint" && settings_.keep_known;
    give(best_.empty() ? program_->averaged() : best_.data(), picture_.alpha.data(),
         keeps ? mask_.data() : nullptr, picture_.colours.data(), this->answer(), answer, type, row_bytes);
}

}  // namespace dipedge::c_api
