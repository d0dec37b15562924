#include "bindings/c/presets.h"

#include <stdexcept>

#include "bindings/c/preset_rows.h"

namespace dipedge::c_api {

const PresetRow& chosen_row(const Wanted& wanted) {
    const PresetRow* found = nullptr;
    std::string regime = wanted.regime, known;
    for (const PresetRow& row : preset_rows) {
        if (wanted.task != row.task) continue;
        if (regime.empty()) regime = row.regime;
        if (known.find(row.regime) == std::string::npos || known.empty()) {
            known += (known.empty() ? "" : ", ") + std::string(row.regime);
        }
        if (regime != row.regime || wanted.prior != row.prior || wanted.quality != row.quality) continue;
        if (!row.counted || wanted.counted) found = &row;  // the one for counted steps comes after the other
    }
    if (!found) {
        throw std::invalid_argument("preset is '" + wanted.regime + "'; " + wanted.task + " with prior '" +
                                    wanted.prior + "' has no such row; there are: " + known);
    }
    return *found;
}

int steps_of_frame() { return frame_steps; }

ProgramSpec spec_of(const PresetRow& row) {
    ProgramSpec spec;
    NetworkSpec& network = spec.network;
    network.levels.assign(row.levels, row.levels + row.level_count);
    network.bilinear = row.bilinear, network.reflect = row.reflect;
    network.need1x1_up = row.need1x1_up, network.sigmoid = row.sigmoid;
    network.downsample = row.downsample;
    network.subsample = row.subsample;
    network.slope = (float)row.slope, network.bn_eps = (float)row.bn_eps;
    spec.encoding.channels = row.encoding_channels;
    spec.encoding.frequencies.assign(row.frequencies, row.frequencies + row.frequency_count);
    spec.encoding.learned = row.learned;
    spec.encoding.perturbation = (float)row.perturbation;
    spec.encoding.perturb_frequencies = row.perturb_frequencies;
    OptimiserSpec& optimiser = spec.optimiser;
    optimiser = {row.adam[0], row.adam[1], row.adam[2],     row.adam[3],
                 row.muon[0], row.muon[1], (int)row.muon[2]};
    optimiser.hold = row.fall[0], optimiser.decay = row.fall[1], optimiser.final_share = row.fall[2];
    spec.average = (float)row.average;
    spec.weight_noise = (float)row.weight_noise;
    return spec;
}

}  // namespace dipedge::c_api
