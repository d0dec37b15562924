// Settings of a fit by task, prior and quality: dipedge/presets.py as a table (preset_rows.h).
#pragma once

#include <string>

#include "engine/program.h"

namespace dipedge::c_api {

// NoiseFloor of dipedge/stopping.py; share 0: there is none.
struct NoiseRow {
    double share;
    int window, floor;
};

// VarianceWindow of dipedge/variance.py; window 0: there is none.
struct VarianceRow {
    int window, patience, floor, pixels;
};

// The first of its rules that is fulfilled ends a fit.
struct StopRow {
    int64_t limit;  // of steps
    NoiseRow noise;
    VarianceRow variance;
};

// One line of the table, whose columns are these members.
struct PresetRow {
    const char *task, *regime, *prior, *quality;
    bool counted;  // for fits whose steps are counted beforehand, where those have settings of their own
    const LevelSpec* levels;
    int level_count;
    bool bilinear, reflect, need1x1_up, sigmoid;
    Downsample downsample;
    double slope, bn_eps;
    int encoding_channels;
    const double* frequencies;  // of Fourier features, or null
    int frequency_count;
    bool learned;
    double noise_scale;  // z is noise from U(0, scale), or centred from U(-scale/2, scale/2); 0: it is not
    bool noise_centred;
    int grid_repeats;  // z is so many pairs of coordinates; 0: it is not
    double perturbation;
    bool perturb_frequencies;
    double weight_noise;
    double adam[4], muon[3], fall[3];  // as in dipedge/engines/native_spec.py
    double average;
    bool backtrack, subsample;
    StopRow stop;
};

// Which settings are asked for; `regime` may be empty where a task has several, which means its first.
struct Wanted {
    std::string task, regime, prior, quality;
    bool counted;
};

// The row of the table. Throws std::invalid_argument, with what there is, where there is none.
const PresetRow& chosen_row(const Wanted& wanted);

// Steps of every further frame of a stream, unless told otherwise.
int steps_of_frame();

// The row's part of a program's description; the caller adds sizes, data term, seed, threads and instruction
// set.
ProgramSpec spec_of(const PresetRow& row);

}  // namespace dipedge::c_api
