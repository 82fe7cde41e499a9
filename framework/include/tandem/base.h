/* SPDX-License-Identifier: Apache-2.0
 *
 * Small things everything uses: time, hash, random numbers, checked arithmetic, text, log, progress.
 * All functions are thread-safe unless they say otherwise.
 */
#ifndef TANDEM_BASE_H
#define TANDEM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/status.h"

/* Time is integer picoseconds in an int64_t everywhere: 2^63 ps = 106 days. */
#define TD_PS_PER_NS INT64_C(1000)
#define TD_PS_PER_SECOND INT64_C(1000000000000)

/* This machine's monotonic clock, picoseconds (nanosecond resolution). */
int64_t td_now_ps(void);
/* CPU-friendly sleep; returns at or after `ps` picoseconds from now. */
void td_sleep_ps(int64_t ps);
/* Asks the system not to let this machine's processors sleep, until td_awake_end (-1 is fine): Linux's request for a
 * wake-up latency of 0, /dev/cpu_dma_latency (PM QoS), as tests of latencies make it. A processor that sleeps is late
 * for its next work, a virtual one by tens of microseconds for each of a step's kernels. TD_UNAVAILABLE with the file
 * and the system's reason, *out_file -1: where it is root's alone, or not there. */
td_status td_awake_begin(int *out_file);
void td_awake_end(int file);
/* Seconds to picoseconds, rounded to nearest; TD_CONFIG if negative, NaN or beyond int64. */
td_status td_ps_from_seconds(double seconds, int64_t *out_ps);
double td_seconds(int64_t ps);

/* FNV-1a, 64 bit. Start with TD_HASH_INIT; feed pieces in order. Not for security. */
#define TD_HASH_INIT UINT64_C(0xcbf29ce484222325)
uint64_t td_hash(uint64_t state, const void *data, size_t bytes);

/* Counter-based random numbers: the value depends on (seed, stream, counter) alone, never on call order, so
 * results do not depend on batching, threads or ranks. splitmix64 finaliser (Steele, Lea, Flood 2014) over the
 * three words. td_random_unit is uniform in [0, 1) with 53 bits. */
uint64_t td_random(uint64_t seed, uint64_t stream, uint64_t counter);
double td_random_unit(uint64_t seed, uint64_t stream, uint64_t counter);

extern const uint64_t td_powers_of_ten[20]; /* 10^0 .. 10^19: all that 64 bits hold */

/* a * b and a + b of sizes; false on overflow, *out untouched. */
bool td_mul_size(uint64_t a, uint64_t b, uint64_t *out);
bool td_add_size(uint64_t a, uint64_t b, uint64_t *out);
/* a + b of counts and times that are at least 0; INT64_MAX, which stands for never or too many, where it is more. */
int64_t td_add_capped(int64_t a, int64_t b);

/* malloc family that never returns NULL for success: TD_NO_MEMORY with the size in the text. Zeroed.
 * `count * size` is checked. Free with free(). */
td_status td_alloc(size_t count, size_t size, void **out);
/* The same, not zeroed, from the begin of a cache line on, or of a page if it is one, and with pages as large as the
 * system has if it is much: for what is looked up in no order, or written past the page cache. */
td_status td_alloc_lines(size_t count, size_t size, void **out);
/* Grows *array (elements of `size` bytes) so that it holds at least `need`; doubles *capacity. */
td_status td_grow(void **array, size_t *capacity, size_t need, size_t size);
/* Copies text; TD_NO_MEMORY. Free with free(). */
td_status td_copy_text(const char *text, char **out);

/* Bounded formatting into a fixed field: TD_CONFIG with the text if it does not fit (never cut silently). */
td_status td_format(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reads a whole file, or a pipe that has something to say within 5 s. TD_NOT_FOUND/TD_IO name the path; devices,
 * folders and files over `limit` bytes are refused. The result has a NUL after its last byte (not counted). Free with
 * free(). */
td_status td_read_file(const char *path, size_t limit, char **out_data, size_t *out_bytes);

/* What renaming a finished file to `path` would meet, met before the work: TD_IO if the path is empty, or names
 * something that is not a regular file (a folder, a device: a rename would replace /dev/null). */
td_status td_check_output(const char *path);

/* A growable byte string for building text and messages. Zero-initialise; td_text_free when done.
 * An append that finds no memory sets `failed` and turns the later ones into no-ops: check once at the end. */
struct td_text {
  char *data; /* always NUL-terminated once something was appended */
  size_t bytes, capacity;
  bool failed;
};
void td_text_add(struct td_text *text, const void *data, size_t bytes);
void td_text_printf(struct td_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void td_text_free(struct td_text *text);

/* Levenshtein distance, for "did you mean". Strings over 63 bytes count as far away. */
int td_edit_distance(const char *a, const char *b);

/* Writes one line "tandem: warning: ..." to stderr. For what the user should know and may ignore. */
void td_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A progress line on stderr, shown only when stderr is a terminal, redrawn at most ten times a second.
 * Not thread-safe: one thread drives a progress line. `what` is borrowed until td_progress_end. */
struct td_progress {
  const char *what;
  int64_t last_ps;
  bool shown;
};
void td_progress_begin(struct td_progress *progress, const char *what);
void td_progress_update(struct td_progress *progress, uint64_t done, uint64_t total);
void td_progress_end(struct td_progress *progress);

/* Writes an escaped JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void td_json_string(FILE *out, const char *text, size_t bytes);
/* "name": and the text as such a string; null if it is NULL. */
void td_json_member(FILE *out, const char *name, const char *text);

#endif
