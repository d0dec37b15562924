// dipedge.h over Session: every exception becomes a status and a sentence here.
#include <cstring>
#include <new>

#include "bindings/c/dipedge.h"
#include "bindings/c/session.h"

using dipedge::c_api::Reason;
using dipedge::c_api::Session;
using dipedge::c_api::Settings;
using dipedge::c_api::Type;

struct dipedge_session {
    explicit dipedge_session(const Settings& settings) : session(settings) {}

    Session session;
    mutable std::string error;
};

namespace {

thread_local std::string error_without_session;

void set_error(const dipedge_session* session, const char* sentence) {
    try {
        (session ? session->error : error_without_session) = sentence;
    } catch (...) {  // no memory for the sentence: the status says enough
    }
}

// Runs the body of a call, and turns what it throws into its status.
template <class Body>
dipedge_status guarded(const dipedge_session* session, const Body& body) noexcept {
    try {
        body();
        return DIPEDGE_OK;
    } catch (const std::invalid_argument& error) {
        set_error(session, error.what());
        return DIPEDGE_INPUT_ERROR;
    } catch (const dipedge::c_api::CannotRun& error) {
        set_error(session, error.what());
        return DIPEDGE_ENGINE_ERROR;
    } catch (const dipedge::c_api::Diverged& error) {
        set_error(session, error.what());
        return DIPEDGE_DIVERGED;
    } catch (const dipedge::OutOfMemory& error) {
        set_error(session, error.what());
        return DIPEDGE_OUT_OF_MEMORY;
    } catch (const std::bad_alloc&) {
        set_error(session, "out of memory");
        return DIPEDGE_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        set_error(session, error.what());
        return DIPEDGE_INTERNAL_ERROR;
    } catch (...) {
        set_error(session, "an unknown fault");
        return DIPEDGE_INTERNAL_ERROR;
    }
}

void check_pointer(const void* pointer, const char* name) {
    if (!pointer) throw std::invalid_argument(std::string(name) + " is NULL");
}

// The word of an enumeration's value.
template <size_t count>
const char* word(const char* name, int32_t value, const char* const (&words)[count]) {
    if (value >= 0 && value < (int32_t)count) return words[value];
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; it must be 0 to " +
                                std::to_string(count - 1));
}

Type checked_type(dipedge_type type) {
    if ((int)type < 0 || (int)type >= dipedge::c_api::type_count) {
        throw std::invalid_argument("type is " + std::to_string((int)type) +
                                    "; it must be DIPEDGE_UINT8, DIPEDGE_UINT16 or DIPEDGE_FLOAT32");
    }
    return (Type)type;
}

// Options of an older header keep our defaults for what it did not have; what a newer one has beyond ours
// must be left at 0, or it would be ignored in silence.
dipedge_options known_options(const dipedge_options* given) {
    check_pointer(given, "options");
    dipedge_options known;
    dipedge_options_init(&known, sizeof(known));
    // All of the first version must be there; new members are added behind.
    if (given->size < offsetof(dipedge_options, isa) + sizeof(known.isa)) {
        throw std::invalid_argument("options has size " + std::to_string(given->size) +
                                    "; call dipedge_options_init first");
    }
    const auto* bytes = (const unsigned char*)given;
    for (size_t i = sizeof(known); i < given->size; ++i) {
        if (bytes[i]) throw std::invalid_argument("options has a member that this library does not know");
    }
    std::memcpy(&known, given, std::min(sizeof(known), given->size));
    return known;
}

Settings settings_of(const dipedge_options& options) {
    static const char* const tasks[] = {"denoise", "jpeg", "superresolve", "inpaint"};
    static const char *const priors[] = {"pip", "dip"}, *const qualities[] = {"balanced", "fast", "paper"};
    static const char* const precisions[] = {"auto", "fp32", "bf16"};
    Settings settings;
    settings.frame = {options.height, options.width, options.channels};
    settings.task = word("task", options.task, tasks);
    settings.prior = word("prior", options.prior, priors);
    settings.quality = word("quality", options.quality, qualities);
    word("precision", options.precision, precisions);
    settings.precision = (Settings::Precision)options.precision;
    settings.preset = options.preset ? options.preset : "";
    settings.isa = options.isa ? options.isa : "";
    settings.scale = options.scale, settings.threads = options.threads;
    settings.keep_known = options.keep_known != 0;
    settings.steps = options.steps, settings.seed = options.seed;
    settings.sigma = options.sigma, settings.learning_rate = options.learning_rate;
    settings.average = options.average;
    return settings;
}

// A call on a session, which may be NULL by mistake.
template <class Body>
dipedge_status on(dipedge_session* session, const Body& body) noexcept {
    return guarded(session, [&] {
        check_pointer(session, "session");
        body(session->session);
    });
}

}  // namespace

extern "C" {

const char* dipedge_version(void) { return DIPEDGE_VERSION; }

void dipedge_options_init(dipedge_options* options, size_t size) {
    if (!options) return;
    dipedge_options all = {};
    all.channels = 3;
    all.scale = 4;
    all.keep_known = 1;
    all.average = -1;
    all.size = size;
    std::memset((void*)options, 0, size);
    std::memcpy((void*)options, &all, std::min(size, sizeof(all)));
}

dipedge_status dipedge_create(const dipedge_options* options, dipedge_session** session) {
    if (session) *session = nullptr;
    return guarded(nullptr, [&] {
        check_pointer(session, "session");
        *session = new dipedge_session(settings_of(known_options(options)));
    });
}

void dipedge_destroy(dipedge_session* session) { delete session; }

dipedge_status dipedge_set_mask(dipedge_session* session, const uint8_t* mask, size_t row_bytes) {
    return on(session, [&](Session& found) {
        check_pointer(mask, "mask");
        found.set_mask(mask, row_bytes);
    });
}

dipedge_status dipedge_set_stop(dipedge_session* session, int64_t steps, double deadline_ms) {
    return on(session, [&](Session& found) { found.set_stop(steps, deadline_ms); });
}

dipedge_status dipedge_push(dipedge_session* session, const void* frame, dipedge_type type,
                            size_t row_bytes) {
    return on(session, [&](Session& found) {
        check_pointer(frame, "frame");
        found.push(frame, checked_type(type), row_bytes, 0, 0);
    });
}

dipedge_status dipedge_push_moved(dipedge_session* session, const void* frame, dipedge_type type,
                                  size_t row_bytes, double dx, double dy) {
    return on(session, [&](Session& found) {
        check_pointer(frame, "frame");
        found.check_motion(dx, dy);
        found.push(frame, checked_type(type), row_bytes, dx, dy);
    });
}

dipedge_status dipedge_read(dipedge_session* session, void* answer, dipedge_type type, size_t row_bytes) {
    return on(session, [&](Session& found) {
        check_pointer(answer, "answer");
        found.read(answer, checked_type(type), row_bytes);
    });
}

dipedge_status dipedge_answer_size(const dipedge_session* session, int32_t* height, int32_t* width,
                                   int32_t* channels) {
    return guarded(session, [&] {
        check_pointer(session, "session");
        const auto size = session->session.answer();
        if (height) *height = size.height;
        if (width) *width = size.width;
        if (channels) *channels = size.channels;
    });
}

dipedge_status dipedge_last_result(const dipedge_session* session, dipedge_result* result) {
    return guarded(session, [&] {
        check_pointer(session, "session");
        check_pointer(result, "result");
        const auto& made = session->session.outcome();
        dipedge_result all = {};
        all.size = result->size;
        all.reason = (int32_t)made.reason;
        all.steps = made.steps, all.chosen_step = made.chosen_step;
        all.seconds = made.seconds, all.loss = made.loss;
        if (result->size < offsetof(dipedge_result, loss) + sizeof(all.loss)) {
            throw std::invalid_argument("result has size " + std::to_string(result->size) +
                                        "; set it to sizeof(dipedge_result)");
        }
        std::memcpy(result, &all, std::min(sizeof(all), all.size));
    });
}

dipedge_status dipedge_restart(dipedge_session* session) {
    return on(session, [](Session& found) { found.restart(); });
}

void dipedge_interrupt(dipedge_session* session) {
    if (session) session->session.interrupt();
}

const char* dipedge_error_text(const dipedge_session* session) {
    return (session ? session->error : error_without_session).c_str();
}

const char* dipedge_reason_text(int32_t reason) {
    switch ((Reason)reason) {
        case Reason::none:
            return "no frame has been restored yet";
        case Reason::steps:
            return "all steps that were asked for are done";
        case Reason::deadline:
            return "the time allowed has passed";
        case Reason::variance:
            return "the variance of the outputs has passed its minimum: the noise is coming in";
        case Reason::discrepancy:
            return "the residual has fallen to the noise";
        case Reason::interrupted:
            return "it was interrupted; this is the best result so far";
    }
    return "";
}

const char* dipedge_isa(const dipedge_session* session) { return session ? session->session.isa() : ""; }

int dipedge_uses_bf16(const dipedge_session* session) { return session && session->session.half(); }

size_t dipedge_memory_bytes(const dipedge_session* session) {
    return session ? session->session.memory_bytes() : 0;
}

}  // extern "C"
