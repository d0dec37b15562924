// Options by name: what a kernel or a program is told besides its arrays.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace dipedge {

// What stands in a dictionary within a dictionary is called by both names, "network.slope".
class Options {
  public:
    // Truth values count as whole numbers, and unsigned ones keep their 64 bits.
    using Value = std::variant<int64_t, double, std::string, std::vector<double>>;

    void add(const std::string& name, Value value) { values_[name] = std::move(value); }
    const std::map<std::string, Value>& all() const { return values_; }

    // Throws std::invalid_argument, with the name, for a missing option or one of another kind.
    template <class Wanted>
    Wanted get(const std::string& name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) throw std::invalid_argument("an option '" + name + "' is needed");
        if constexpr (std::is_arithmetic_v<Wanted>) {
            if (const auto* whole = std::get_if<int64_t>(&found->second)) return (Wanted)*whole;
            if (const auto* real = std::get_if<double>(&found->second)) {
                if (std::is_floating_point_v<Wanted> || std::is_same_v<Wanted, bool>) return (Wanted)*real;
            }
        } else {
            if (const auto* held = std::get_if<Wanted>(&found->second)) return *held;
        }
        throw std::invalid_argument("the option '" + name + "' is of the wrong kind");
    }

    template <class Wanted>
    Wanted get(const std::string& name, Wanted otherwise) const {
        return values_.count(name) ? get<Wanted>(name) : otherwise;
    }

  private:
    std::map<std::string, Value> values_;
};

}  // namespace dipedge
