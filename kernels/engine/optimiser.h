// The update of all parameters: Adam, or Muon for the wide matrices and Adam for the rest.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/parameters.h"
#include "engine/tensor.h"

namespace dipedge {

// dipedge/optimisers.py in plain numbers. muon_rate 0: Adam alone.
struct OptimiserSpec {
    double learning_rate = 0.01, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double muon_rate = 0, momentum = 0.95;
    int iterations = 5;
    double hold = 0, decay = 0, final_share = 1;  // steps at the full rate, of its fall, and what is left

    // Muon's rate in step number `step`, counted from 1.
    double falling_rate(uint64_t step) const {
        const double after = (double)(step - 1) - hold;
        if (after < 0 || final_share == 1) return muon_rate;
        const double fallen = decay > 0 && after < decay ? after / decay : 1.0;
        return muon_rate * (1 - fallen * (1 - final_share));
    }
};

class Optimiser {
  public:
    Optimiser(const OptimiserSpec& spec, Parameters& parameters);

    // Step number `step`, counted from 1, with the gradients that stand in `parameters`.
    void step(const Context& context, uint64_t step);

  private:
    // A run of the flat arrays that one task updates.
    struct Share {
        size_t begin, end;
    };
    // A matrix as it lies in memory, [rows][columns]: rows are taps times inputs, columns outputs.
    struct Matrix {
        size_t offset;
        int rows, columns;
        size_t floats() const { return (size_t)rows * columns; }
    };
    struct Workspace {
        std::vector<float> update, next, gram, polynomial, packed;
    };

    void adam_share(const Context& context, uint64_t step, const Share& share);
    void muon_matrix(const Context& context, const Matrix& matrix, double share, Workspace& workspace);
    void orthogonalise(const Context& context, const Matrix& matrix, double norm, Workspace& workspace);

    OptimiserSpec spec_;
    Parameters& parameters_;
    std::vector<Share> shares_;
    std::vector<Matrix> matrices_;
    std::vector<Workspace> workspaces_;  // one per worker
};

}  // namespace dipedge
