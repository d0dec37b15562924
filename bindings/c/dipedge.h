/* dipedge in C: restores pictures and streams of frames with an untrained network, on the native engine.
 *
 *     dipedge_options options;
 *     dipedge_session *session;
 *     dipedge_options_init(&options, sizeof options);
 *     options.height = 480, options.width = 640, options.channels = 3;
 *     if (dipedge_create(&options, &session)) return puts(dipedge_error_text(NULL));
 *     while (next_frame(frame)) {
 *         if (dipedge_push(session, frame, DIPEDGE_UINT8, 0)) puts(dipedge_error_text(session));
 *         dipedge_read(session, frame, DIPEDGE_UINT8, 0);
 *     }
 *     dipedge_destroy(session);
 *
 * A session is one network. The first frame is fitted from scratch, every further one goes on from the
 * weights of the one before. What a session computes is, to the bit, what `dipedge.Session` of Python
 * computes with the same settings on the same instruction set (and motion=None, memory=False: no motion is estimated
 * here, and no scene remembered); nothing of Python is needed, before or at run time.
 *
 * Pictures lie in memory row by row, channels innermost: [height][width][channels]; `row_bytes` is the
 * distance from one row to the next, 0 for rows without a gap. 1 channel is grey, 3 are colours, and a fourth
 * is alpha, which is not fitted but carried over.
 *
 * Errors: functions that can fail return a status; dipedge_error_text() has the sentence. After an error a
 * session stands where it stood before, unless its description says otherwise. No exception crosses this
 * border.
 *
 * Threads: a session belongs to one thread at a time, and any number of sessions may be used by as many
 * threads. dipedge_interrupt() alone may be called from any thread, and from a signal handler. Worker threads
 * are the session's own; they end with dipedge_destroy(). After fork() a child must not touch the parent's
 * sessions.
 *
 * C99 or any C++. The ABI: structures begin with their size and only grow at the end, numbers of enumerations
 * keep their meaning, so a program runs with a library that is newer than its header.
 */
#ifndef DIPEDGE_H
#define DIPEDGE_H

#include <stddef.h>
#include <stdint.h>

#define DIPEDGE_VERSION "0.1.0"

#if defined(__GNUC__)
#define DIPEDGE_API __attribute__((visibility("default")))
#else
#define DIPEDGE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call. */
typedef enum dipedge_status {
    DIPEDGE_OK = 0,
    DIPEDGE_INTERNAL_ERROR = 1, /* a fault of this library */
    DIPEDGE_INPUT_ERROR = 2, /* an argument or a picture that cannot be used; the text says what is allowed */
    DIPEDGE_ENGINE_ERROR = 3,  /* an instruction set or precision that this processor does not have */
    DIPEDGE_OUT_OF_MEMORY = 4, /* the text says how many bytes were needed */
    DIPEDGE_DIVERGED = 5       /* the loss is no longer a number; a smaller learning rate helps */
} dipedge_status;

/* What degraded the pictures. */
typedef enum dipedge_task {
    DIPEDGE_DENOISE = 0,
    DIPEDGE_JPEG = 1,         /* artefacts of JPEG compression */
    DIPEDGE_SUPERRESOLVE = 2, /* the answer is `scale` times as large */
    DIPEDGE_INPAINT = 3       /* holes; dipedge_set_mask() says where, before the first frame */
} dipedge_task;

/* The untrained network. */
typedef enum dipedge_prior {
    DIPEDGE_PIP =
        0, /* Positional-encoding Image Prior: pointwise layers over Fourier features; the quicker one */
    DIPEDGE_DIP = 1 /* Deep Image Prior: 3x3 convolutions over noise */
} dipedge_prior;

/* Settings: ours, ours in half the time, or those published. */
typedef enum dipedge_quality { DIPEDGE_BALANCED = 0, DIPEDGE_FAST = 1, DIPEDGE_PAPER = 2 } dipedge_quality;

/* Numbers that layers are kept in; AUTO is bf16 where the processor multiplies it in tiles (AMX), else fp32.
 * */
typedef enum dipedge_precision {
    DIPEDGE_PRECISION_AUTO = 0,
    DIPEDGE_FP32 = 1,
    DIPEDGE_BF16 = 2
} dipedge_precision;

/* One value of a picture. White is 255, 65535 or 1.0f; integers are rounded to nearest, ties to even. */
typedef enum dipedge_type { DIPEDGE_UINT8 = 0, DIPEDGE_UINT16 = 1, DIPEDGE_FLOAT32 = 2 } dipedge_type;

/* Why a fit ended. */
typedef enum dipedge_reason {
    DIPEDGE_NOT_YET = 0,     /* no frame has been restored */
    DIPEDGE_STEPS = 1,       /* all steps that were asked for are done */
    DIPEDGE_DEADLINE = 2,    /* the time allowed has passed, or the next step would have been too late */
    DIPEDGE_VARIANCE = 3,    /* the outputs began to move again: the noise is coming in */
    DIPEDGE_DISCREPANCY = 4, /* the residual has fallen to the noise */
    DIPEDGE_INTERRUPTED = 5  /* by dipedge_interrupt(); the answer is the best until then */
} dipedge_reason;

/* What a session is made with. dipedge_options_init() fills in the values in brackets. */
typedef struct dipedge_options {
    size_t size;           /* sizeof(dipedge_options), set by dipedge_options_init() */
    int32_t height, width; /* of the frames that go in, each 16 or more [must be set] */
    int32_t channels;      /* of these frames: 1, 3 or 4 [3]; 4 not with SUPERRESOLVE */
    int32_t task;          /* a dipedge_task [DENOISE] */
    int32_t prior;         /* a dipedge_prior [PIP] */
    int32_t quality;       /* a dipedge_quality [BALANCED] */
    int32_t precision;     /* a dipedge_precision [AUTO] */
    int32_t scale;         /* SUPERRESOLVE: 2, 3, 4 or 8 [4] */
    int32_t threads;       /* 1 to 1024; 0: all processors that this process may use [0] */
    int32_t keep_known;    /* INPAINT: whether known pixels come back as they were, to the bit [1] */
    int64_t steps;         /* of the first frame, exactly; 0: the preset's own rule [0] */
    uint64_t seed;         /* of weights, input and noise, below 2^63 [0] */
    double sigma;          /* DENOISE: the noise's standard deviation of 0..255, if known, else 0 [0] */
    double learning_rate;  /* of the optimiser, above 0; 0: the preset's [0] */
    double average;        /* weight of the past in the running average of outputs, 0 to below 1; 0 is the
                              raw output; -1: the preset's [-1]. It reaches over frames: 0.9 or less where
                              things move */
    const char* preset;    /* INPAINT: "text", "large-hole", "half", or for DIP "large-hole-6", "-4" or "-2";
                              NULL: "text" [NULL] */
    const char* isa;       /* "generic", "avx2", "avx512", "avx512bf16", "amx" or "neon"; NULL: what the
                              environment variable DIPEDGE_ISA says, and without it the best there is [NULL] */
} dipedge_options;

/* How the last frame's fit went. */
typedef struct dipedge_result {
    size_t size;         /* sizeof(dipedge_result), set by the caller */
    int32_t reason;      /* a dipedge_reason */
    int64_t steps;       /* optimiser steps of this frame */
    int64_t chosen_step; /* whose estimate is the answer: the last, unless the rule found a better one */
    double seconds;      /* of the whole dipedge_push() */
    double loss;         /* mean squared difference of the last step's output to the frame */
} dipedge_result;

typedef struct dipedge_session dipedge_session;

/* The library's version; DIPEDGE_VERSION is the header's. */
DIPEDGE_API const char* dipedge_version(void);

/* Fills the first `size` bytes, sizeof(dipedge_options) of the caller's header, with the values above. */
DIPEDGE_API void dipedge_options_init(dipedge_options* options, size_t size);

/* Makes a session and takes the memory of its fits, dipedge_memory_bytes() of it at once.
 *
 * `*session` is the new session, or NULL after an error. Errors: INPUT, ENGINE, OUT_OF_MEMORY, with their
 * text under dipedge_error_text(NULL). */
DIPEDGE_API dipedge_status dipedge_create(const dipedge_options* options, dipedge_session** session);

/* Gives everything back; NULL is allowed. */
DIPEDGE_API void dipedge_destroy(dipedge_session* session);

/* Says which pixels of the frames are known, for INPAINT: [height][width], anything but 0 is known; one must
 * be. It counts from the next frame on. */
DIPEDGE_API dipedge_status dipedge_set_mask(dipedge_session* session, const uint8_t* mask, size_t row_bytes);

/* Says when the fits of all frames from now on end, the first one's too: after `steps` steps, or before
 * `deadline_ms` milliseconds have passed since dipedge_push() was called, as far as steps can be foreseen;
 * whichever comes first, and 0 leaves that one out. One step is always made. Both 0, as at the beginning: the
 * first frame as the options say, every further one after 30 steps. */
DIPEDGE_API dipedge_status dipedge_set_stop(dipedge_session* session, int64_t steps, double deadline_ms);

/* Fits a frame [height][width][channels] as the options say; it is not written to, and not needed afterwards.
 *
 * Floats must be within [0, 1], up to 0.001 beyond, which is cut off. Errors: INPUT (the session stands where
 * it was), DIVERGED and OUT_OF_MEMORY (there is no answer, and the next frame is fitted from scratch). */
DIPEDGE_API dipedge_status dipedge_push(dipedge_session* session, const void* frame, dipedge_type type,
                                        size_t row_bytes);

/* dipedge_push() for a frame whose pixel (0, 0) is pixel (dx, dy) of the frame before, in columns to the
 * right and rows down, whole or not: the network's coordinates follow the camera, and so does the average of
 * outputs. The library looks for no motion itself; it comes from a gyroscope or a tracker. Of a first frame
 * it does not count. PIP only. Errors: as dipedge_push(). */
DIPEDGE_API dipedge_status dipedge_push_moved(dipedge_session* session, const void* frame, dipedge_type type,
                                              size_t row_bytes, double dx, double dy);

/* Writes the answer for the last frame, of the size that dipedge_answer_size() says, in any type. */
DIPEDGE_API dipedge_status dipedge_read(dipedge_session* session, void* answer, dipedge_type type,
                                        size_t row_bytes);

/* The size of answers; pointers may be NULL. */
DIPEDGE_API dipedge_status dipedge_answer_size(const dipedge_session* session, int32_t* height,
                                               int32_t* width, int32_t* channels);

/* How the last frame's fit went; fills the first `result->size` bytes. */
DIPEDGE_API dipedge_status dipedge_last_result(const dipedge_session* session, dipedge_result* result);

/* Forgets the scene: the next frame is fitted from scratch, as after a cut. Memory is kept. */
DIPEDGE_API dipedge_status dipedge_restart(dipedge_session* session);

/* Ends a running dipedge_push() after its step; it returns DIPEDGE_OK, and the reason is INTERRUPTED. Without
 * a running one nothing happens. From any thread, and from signal handlers. */
DIPEDGE_API void dipedge_interrupt(dipedge_session* session);

/* The sentence of a session's last error, or with NULL that of the last error of this thread that belongs to
 * no session; empty when there was none. Valid until the next call with the same session, or of this
 * thread. */
DIPEDGE_API const char* dipedge_error_text(const dipedge_session* session);

/* The sentence of a reason; of an unknown one an empty text. */
DIPEDGE_API const char* dipedge_reason_text(int32_t reason);

/* The instruction set in use, and whether layers are kept in bf16; of no session an empty text and 0. */
DIPEDGE_API const char* dipedge_isa(const dipedge_session* session);
DIPEDGE_API int dipedge_uses_bf16(const dipedge_session* session);

/* Bytes of the session's arena, which holds all that grows with the picture. */
DIPEDGE_API size_t dipedge_memory_bytes(const dipedge_session* session);

#ifdef __cplusplus
}
#endif

#endif /* DIPEDGE_H */
