/* Restores a stream of noisy frames: binary PPM (P6) on standard input, the same on standard output.
 *
 *     ffmpeg -i noisy.mp4 -f image2pipe -c:v ppm - | ppm_stream --sigma 25 | ffmpeg -f image2pipe -c:v ppm -i
 * - out.mp4
 *
 * The first frame is fitted from scratch, every further one takes 30 steps from there; --steps and
 * --deadline-ms say otherwise, for the first one too. Frames have 8 or 16 bits and one size. The exit code is
 * 0 when the stream has ended between two frames, 2 for bad usage or input (one line says which frame and
 * what is wrong; all frames before it have been written), 1 for anything else. Ctrl-C ends the frame in hand
 * with the best so far, writes it and stops.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dipedge.h"

enum { DONE = 0, FAULT = 1, BAD_INPUT = 2 };

static const char usage[] =
    "usage: ppm_stream [--steps N] [--deadline-ms MS] [--sigma S] [--prior pip|dip] [--average A]\n"
    "                  [--seed N] [--threads N] [--verbose] < frames.ppm > restored.ppm\n";

struct arguments {
    dipedge_options options;
    long steps;
    double deadline_ms;
    int verbose;
};

/* One frame: `bytes` holds rows of colours as the library reads them. */
struct frame {
    int width, height, most; /* `most` is white: 255 or 65535 */
    size_t size;             /* of bytes */
    unsigned char* bytes;
};

static dipedge_session* running; /* for the handler of Ctrl-C */
static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
    dipedge_interrupt(running);
}

static int complain(int code, const char* format, ...) {
    va_list words;
    va_start(words, format);
    fputs("ppm_stream: ", stderr);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    va_end(words);
    return code;
}

/* A number that is all of `text`, within [low, high]; complains otherwise. */
static int parse(const char* name, const char* text, double low, double high, double* to) {
    char* end = NULL;
    if (text) *to = strtod(text, &end);
    if (!text || end == text || *end || !(*to >= low && *to <= high)) {
        complain(BAD_INPUT, "%s is %s; it must be a number from %g to %g", name, text ? text : "missing", low,
                 high);
        return 0;
    }
    return 1;
}

static int read_arguments(int count, char** words, struct arguments* to) {
    dipedge_options* options = &to->options;
    double value = 0;
    int i;
    dipedge_options_init(options, sizeof *options);
    for (i = 1; i < count; ++i) {
        const char *name = words[i], *text = i + 1 < count ? words[i + 1] : NULL;
        if (!strcmp(name, "--verbose")) {
            to->verbose = 1;
            continue;
        }
        if (!strcmp(name, "--prior")) {
            if (!text || (strcmp(text, "pip") && strcmp(text, "dip"))) {
                complain(BAD_INPUT, "--prior is %s; it must be pip or dip", text ? text : "missing");
                return 0;
            }
            options->prior = strcmp(text, "pip") ? DIPEDGE_DIP : DIPEDGE_PIP;
        } else if (!strcmp(name, "--steps")) {
            if (!parse(name, text, 1, 1e9, &value)) return 0;
            to->steps = (long)value;
        } else if (!strcmp(name, "--deadline-ms")) {
            if (!parse(name, text, 1e-3, 1e9, &to->deadline_ms)) return 0;
        } else if (!strcmp(name, "--sigma")) {
            if (!parse(name, text, 1e-3, 255, &options->sigma)) return 0;
        } else if (!strcmp(name, "--average")) {
            if (!parse(name, text, 0, 0.9999, &options->average)) return 0;
        } else if (!strcmp(name, "--seed")) {
            if (!parse(name, text, 0, 9e15, &value)) return 0;
            options->seed = (uint64_t)value;
        } else if (!strcmp(name, "--threads")) {
            if (!parse(name, text, 1, 1024, &value)) return 0;
            options->threads = (int32_t)value;
        } else {
            complain(BAD_INPUT, "unknown argument %s", name);
            fputs(usage, stderr);
            return 0;
        }
        ++i;
    }
    return 1;
}

/* The next number of a header, behind white space and comments; -1 where there is none. Takes one character
 * more. */
static long header_number(FILE* from) {
    long value = 0;
    int digits = 0, c = fgetc(from);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
        if (c == '#') {
            while (c != '\n' && c != EOF) c = fgetc(from);
        }
        c = fgetc(from);
    }
    for (; c >= '0' && c <= '9' && value < 100000000; ++digits, c = fgetc(from))
        value = 10 * value + (c - '0');
    return digits && (c == ' ' || c == '\t' || c == '\n' || c == '\r') ? value : -1;
}

/* PPM has the high byte of a word first; the library takes words as the machine has them. The same back
 * again. */
static void swap_words(struct frame* frame) {
    const unsigned short one = 1;
    size_t i;
    if (frame->most == 255 || !*(const unsigned char*)&one) return;
    for (i = 0; i + 1 < frame->size; i += 2) {
        const unsigned char high = frame->bytes[i];
        frame->bytes[i] = frame->bytes[i + 1];
        frame->bytes[i + 1] = high;
    }
}

/* Reads a header and compares it with that of the frames before, of which the first makes room for all. */
static int read_header(FILE* from, long number, struct frame* to) {
    const int second = fgetc(from);
    const long width = second == '6' ? header_number(from) : -1;
    const long height = width > 0 ? header_number(from) : -1, most = height > 0 ? header_number(from) : -1;
    if (second != '6') return complain(BAD_INPUT, "frame %ld is no binary PPM (P6)", number);
    if (feof(from) || ferror(from)) return complain(BAD_INPUT, "frame %ld ends within its header", number);
    if (most < 1) return complain(BAD_INPUT, "frame %ld has a damaged header", number);
    if (width > 65535 || height > 65535) {
        return complain(BAD_INPUT, "frame %ld is %ld x %ld; sides may have 65535 pixels", number, width,
                        height);
    }
    if (most != 255 && most != 65535) {
        return complain(BAD_INPUT, "frame %ld has a maximum of %ld; it must be 255 or 65535", number, most);
    }
    if (to->bytes && (width != to->width || height != to->height || most != to->most)) {
        return complain(BAD_INPUT, "frame %ld is %ld x %ld (up to %ld), those before are %d x %d (up to %d)",
                        number, width, height, most, to->width, to->height, to->most);
    }
    if (!to->bytes) {
        to->width = (int)width, to->height = (int)height, to->most = (int)most;
        to->size = (size_t)width * (size_t)height * 3 * (most > 255 ? 2 : 1);
        to->bytes = malloc(to->size);
        if (!to->bytes) return complain(FAULT, "out of memory for a frame of %ld x %ld", width, height);
    }
    return DONE;
}

/* The next frame. `*found` is 0 where the stream ends instead. */
static int read_frame(FILE* from, long number, struct frame* to, int* found) {
    const int first = fgetc(from);
    size_t got;
    int code;
    *found = 0;
    if (first == EOF) {
        if (ferror(from) && !stopped) return complain(FAULT, "cannot read: %s", strerror(errno));
        return number > 1 || stopped ? DONE : complain(BAD_INPUT, "there is no frame on standard input");
    }
    if (first != 'P') return complain(BAD_INPUT, "frame %ld is no binary PPM (P6)", number);
    code = read_header(from, number, to);
    if (code) return code;
    got = fread(to->bytes, 1, to->size, from);
    if (got < to->size && stopped) return DONE; /* Ctrl-C while waiting for the rest */
    if (got < to->size) {
        return complain(BAD_INPUT, "frame %ld is truncated: %lu of %lu bytes", number, (unsigned long)got,
                        (unsigned long)to->size);
    }
    swap_words(to);
    *found = 1;
    return DONE;
}

static int write_frame(struct frame* frame) {
    swap_words(frame);
    if (printf("P6\n%d %d\n%d\n", frame->width, frame->height, frame->most) < 0 ||
        fwrite(frame->bytes, 1, frame->size, stdout) != frame->size || fflush(stdout)) {
        return complain(FAULT, "cannot write: %s", strerror(errno));
    }
    return DONE;
}

static int status_code(dipedge_status status) {
    return status == DIPEDGE_INPUT_ERROR || status == DIPEDGE_ENGINE_ERROR ? BAD_INPUT : FAULT;
}

/* A session for frames of this size, made when the first has come. */
static int open_session(struct arguments* arguments, const struct frame* frame) {
    dipedge_status status;
    arguments->options.width = frame->width;
    arguments->options.height = frame->height;
    status = dipedge_create(&arguments->options, &running);
    if (status) return complain(status_code(status), "%s", dipedge_error_text(NULL));
    status = dipedge_set_stop(running, arguments->steps, arguments->deadline_ms);
    return status ? complain(status_code(status), "%s", dipedge_error_text(running)) : DONE;
}

static int restore(struct frame* frame, long number, int verbose) {
    const dipedge_type type = frame->most > 255 ? DIPEDGE_UINT16 : DIPEDGE_UINT8;
    dipedge_result result;
    dipedge_status status = dipedge_push(running, frame->bytes, type, 0);
    if (!status) status = dipedge_read(running, frame->bytes, type, 0);
    if (status) return complain(status_code(status), "frame %ld: %s", number, dipedge_error_text(running));
    result.size = sizeof result;
    if (verbose && !dipedge_last_result(running, &result)) {
        fprintf(stderr, "frame %ld: %ld steps in %.3f s: %s\n", number, (long)result.steps, result.seconds,
                dipedge_reason_text(result.reason));
    }
    return DONE;
}

int main(int count, char** words) {
    struct arguments arguments = {0};
    struct frame frame = {0};
    long number;
    int code = DONE, found = 1;
    if (!read_arguments(count, words, &arguments)) return BAD_INPUT;
    for (number = 1; !code && !stopped; ++number) {
        code = read_frame(stdin, number, &frame, &found);
        if (code || !found) break;
        if (!running) {
            code = open_session(&arguments, &frame);
            signal(SIGINT, stop);
        }
        if (!code) code = restore(&frame, number, arguments.verbose);
        if (!code) code = write_frame(&frame);
    }
    signal(SIGINT, SIG_DFL);
    dipedge_destroy(running);
    free(frame.bytes);
    return code;
}
