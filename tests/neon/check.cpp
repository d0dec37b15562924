// Runs kernels and programs for another process: requests come in on standard input, answers go out on
// standard output. So a test can drive code for another processor under an emulator, with the references
// and judgements it has for this one; tests/neon/emulated.py is the other side.
//
// A message is a line with its name, lines and arrays, and a line "end":
//     whole NAME n / real NAME x / word NAME text / list NAME count x x ...
//     array NAME dimensions length length ...     followed by its float32 numbers as bytes
// An answer is called "done", or "failed" with the word "why".
#include <cstdio>
#include <functional>
#include <iostream>
#include <sstream>

#include "bindings/kernel_bench.h"
#include "bindings/limits.h"
#include "bindings/program_calls.h"
#include "engine/decimate.h"

namespace dipedge {
namespace {

struct Message {
    std::string name;
    Options options;
    std::map<std::string, FloatArray> arrays;

    const FloatArray& array(const std::string& wanted) const { return arrays.at(wanted); }
};

// The rest of a line behind the blank.
std::string rest_of(std::istringstream& line) {
    std::string rest;
    std::getline(line >> std::ws, rest);
    return rest;
}

FloatArray read_array(std::istringstream& line) {
    size_t dimensions;
    line >> dimensions;
    std::vector<ptrdiff_t> shape(dimensions);
    for (ptrdiff_t& length : shape) line >> length;
    FloatArray array(shape);
    std::cin.read((char*)array.mutable_data(), (std::streamsize)(array.size() * sizeof(float)));
    return array;
}

std::vector<double> read_list(std::istringstream& line) {
    size_t count;
    line >> count;
    std::vector<double> list(count);
    for (double& number : list) line >> number;
    return list;
}

// False at the end of the input. Throws for what is no message: the other side is then of another version.
bool read(Message& message) {
    std::string text, kind, name;
    if (!std::getline(std::cin, message.name)) return false;
    while (std::getline(std::cin, text) && text != "end") {
        std::istringstream line(text);
        line >> kind >> name;
        if (kind == "array") {
            message.arrays[name] = read_array(line);
        } else if (kind == "whole") {
            message.options.add(name, (int64_t)std::stoull(rest_of(line)));
        } else if (kind == "real") {
            message.options.add(name, std::stod(rest_of(line)));
        } else if (kind == "word") {
            message.options.add(name, rest_of(line));
        } else if (kind == "list") {
            message.options.add(name, read_list(line));
        } else {
            throw std::runtime_error("no message holds '" + text + "'");
        }
    }
    return true;
}

struct Writer {
    const Message& message;

    void write_value(const std::string& name, int64_t n) { std::cout << "whole " << name << ' ' << n; }
    void write_value(const std::string& name, double x) { std::cout << "real " << name << ' ' << x; }
    void write_value(const std::string& name, const std::string& s) {
        std::cout << "word " << name << ' ' << s;
    }
    void write_value(const std::string& name, const std::vector<double>& list) {
        std::cout << "list " << name << ' ' << list.size();
        for (const double number : list) std::cout << ' ' << number;
    }

    void write() {
        std::cout << message.name << '\n';
        for (const auto& [name, value] : message.options.all()) {
            std::visit([&, key = name](const auto& held) { write_value(key, held); }, value);
            std::cout << '\n';
        }
        for (const auto& [name, array] : message.arrays) {
            std::cout << "array " << name << ' ' << array.ndim();
            for (const ptrdiff_t length : array.shape()) std::cout << ' ' << length;
            std::cout << '\n';
            std::cout.write((const char*)array.data(), (std::streamsize)(array.size() * sizeof(float)));
        }
        std::cout << "end" << std::endl;
    }
};

// One kernel from its inputs to its results.
Message run_kernel(const Message& asked) {
    const Options& options = asked.options;
    const auto kernel = make_kernel(options.get<std::string>("call.kernel"), Inputs(asked.arrays, options),
                                    options.get<std::string>("call.isa"), options.get<int>("call.threads"));
    kernel->prepare_thread();
    if (options.get<bool>("call.forward")) kernel->forward();
    if (options.get<bool>("call.backward")) kernel->backward();
    const Results found = kernel->results();
    Message answer{"done", {}, found.arrays};
    for (const auto& [name, number] : found.numbers) answer.options.add(name, number);
    return answer;
}

// Programs that were compiled and not closed, by number.
std::map<int, std::unique_ptr<Program>> programs;

Message compile_program(const Message& asked) {
    static int number = 0;
    auto program = compile(asked.options);
    Message answer{"done", {}, {}};
    std::string names;
    for (const std::string& name : names_of(*program)) names += name + " ";
    answer.options.add("names", names);
    answer.options.add("memory_bytes", (int64_t)program->memory_bytes());
    answer.options.add("isa", std::string(program->isa()));
    answer.options.add("program", (int64_t)++number);
    programs[number] = std::move(program);
    return answer;
}

// What a program is asked; each answers with an array, or with none.
using Ask = std::function<FloatArray(Program&, const Message&)>;

Ask giving(FloatArray (*get)(Program&)) {
    return [get](Program& program, const Message&) { return get(program); };
}

Ask taking(void (*set)(Program&, const FloatArray&)) {
    return [set](Program& program, const Message& asked) {
        set(program, asked.array("array"));
        return FloatArray();
    };
}

const std::map<std::string, Ask> questions = {
    {"output", giving(&output)},
    {"averaged", giving(&averaged)},
    {"get_input", giving(&get_input)},
    {"input_gradient", giving(&input_gradient)},
    {"set_target", taking(&set_target)},
    {"set_mask", taking(&set_mask)},
    {"set_input", taking(&set_input)},
    {"set_output", taking(&set_output)},
    {"set_averaged", taking(&set_averaged)},
    {"get",
     [](Program& program, const Message& asked) {
         return get_tensor(program, asked.options.get<std::string>("kind"),
                           asked.options.get<std::string>("tensor"));
     }},
    {"set",
     [](Program& program, const Message& asked) {
         set_tensor(program, asked.options.get<std::string>("kind"), asked.options.get<std::string>("tensor"),
                    asked.array("array"));
         return FloatArray();
     }},
    {"set_views",
     [](Program& program, const Message& asked) {
         set_views(program, asked.options.get<std::vector<double>>("views"));
         return FloatArray();
     }},
    {"step",
     [](Program& program, const Message& asked) {
         program.step(asked.options.get<int>("count"));
         return FloatArray();
     }},
    {"forward", [](Program& program,
                   const Message& asked) { return forward(program, asked.options.get<bool>("perturb")); }},
    {"backward",
     [](Program& program, const Message& asked) {
         backward(program, asked.array("array"), asked.options.get<double>("given_loss"));
         return FloatArray();
     }},
    {"evaluate",
     [](Program& program, const Message&) {
         program.evaluate();
         return FloatArray();
     }},
    {"set_state",
     [](Program& program, const Message& asked) {
         // What is not named is not touched: to set a number again has consequences of its own.
         const Options& given = asked.options;
         const auto& named = given.all();
         if (named.count("loss")) program.set_loss(given.get<double>("loss"));
         if (named.count("steps_done")) program.set_steps_done(given.get<uint64_t>("steps_done"));
         if (named.count("seed")) program.set_seed(given.get<uint64_t>("seed"));
         return FloatArray();
     }},
};

Message ask_program(const Message& asked) {
    Program& program = *programs.at(asked.options.get<int>("program"));
    const auto question = questions.find(asked.name);
    if (question == questions.end()) throw std::invalid_argument("nobody knows '" + asked.name + "'");
    Message answer{"done", {}, {}};
    answer.arrays["array"] = question->second(program, asked);
    answer.options.add("loss", program.loss());
    answer.options.add("steps_done", (int64_t)program.steps_done());
    answer.options.add("seed", (int64_t)program.seed());
    answer.options.add("begun", (int64_t)program.begun());
    return answer;
}

Message answer_to(const Message& asked) {
    const Options& options = asked.options;
    Message answer{"done", {}, {}};
    if (asked.name == "isas") {
        answer.options.add("isas", std::string(runnable_isas()));
    } else if (asked.name == "kernel") {
        return run_kernel(asked);
    } else if (asked.name == "normal") {
        answer.arrays["array"] = normal(options.get<uint64_t>("seed"), options.get<uint64_t>("step"),
                                        options.get<uint64_t>("count"), options.get<std::string>("isa"));
    } else if (asked.name == "fourier_features") {
        answer.arrays["array"] = fourier_features(options.get<std::vector<double>>("frequencies"),
                                                  options.get<int>("height"), options.get<int>("width"));
    } else if (asked.name == "lanczos_weights") {
        const auto weights = lanczos_weights(options.get<int>("scale"), options.get<int>("lobes"),
                                             options.get<double>("phase") != 0);
        answer.options.add("weights", std::vector<double>(weights.begin(), weights.end()));
    } else if (asked.name == "gflops") {
        answer.options.add("gflops", multiply_gflops(options.get<std::string>("isa"), 1, false));
    } else if (asked.name == "compile") {
        return compile_program(asked);
    } else if (asked.name == "close") {
        programs.erase(options.get<int>("program"));
    } else {
        return ask_program(asked);
    }
    return answer;
}

}  // namespace
}  // namespace dipedge

int main() {
    std::ios::sync_with_stdio(false);
    std::cout.precision(17);
    for (dipedge::Message asked; dipedge::read(asked); asked = {}) {
        dipedge::Message answer;
        try {
            answer = dipedge::answer_to(asked);
        } catch (const std::exception& error) {
            answer = {"failed", {}, {}};
            answer.options.add("why", std::string(error.what()));
        }
        dipedge::Writer{answer}.write();
    }
}
