/* SPDX-License-Identifier: Apache-2.0
 *
 * Status codes and the error text.
 *
 * Every function that can fail returns td_status. The function that decides on the error calls td_fail(),
 * which stores one line for this thread; callers pass the code on untouched, or put words in front with
 * td_fail_within(). The command line prints the line once, at the very end. Output arguments come last and
 * are written on TD_OK only. Asserts are for tandem's own bugs, never for what a user wrote.
 */
#ifndef TANDEM_STATUS_H
#define TANDEM_STATUS_H

enum td_code {
  TD_OK = 0,
  TD_USAGE,         /* the command line is wrong */
  TD_CONFIG,        /* a config, or a path or name it gives, is wrong: nothing was run */
  TD_NOT_FOUND,     /* a name or path does not exist */
  TD_IO,            /* the operating system refused: disk full, permission, short read */
  TD_CORRUPT,       /* a file contradicts itself or its format */
  TD_UNSUPPORTED,   /* valid, and this component will never do it */
  TD_UNIMPLEMENTED, /* valid, optional, and left out by this component: the framework's default applies */
  TD_UNAVAILABLE,   /* needs a device or library that is not on this machine */
  TD_NO_MEMORY,     /* the host has no memory left */
  TD_EXHAUSTED,     /* a device's memory, KV blocks or a bounded table is full */
  TD_PRECONDITION,  /* called in the wrong state: a stale KV block, a step before its commit */
  TD_ABORTED,       /* somebody else failed and this work was given up */
  TD_INTERNAL       /* a bug of tandem */
};
typedef enum td_code td_status;

/* Records `code` and a printf-style line (no trailing newline; cut at 1,023 bytes; control characters are
 * replaced by '?', so that a hostile file name cannot fake a second line) as this thread's error.
 * Returns `code`. Thread-safe: the text is per thread. */
td_status td_fail(enum td_code code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts printf-style words, then ": ", in front of this thread's error text. Returns `code` unchanged. */
td_status td_fail_within(enum td_code code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* This thread's last error text; "" when none. Borrowed until the thread's next td_fail. */
const char *td_error_text(void);

/* The program's exit code for a status: 0; 2 for TD_USAGE and TD_CONFIG; 1 for all others. */
int td_exit_code(td_status status);

/* Short lower-case name of a code ("config", "corrupt", ...). Static storage. */
const char *td_code_name(enum td_code code);

/* Returns from the calling function if `expr` is not TD_OK. */
#define TD_TRY(expr)                           \
  do {                                         \
    td_status td_try_status_ = (expr);         \
    if (td_try_status_) return td_try_status_; \
  } while (0)

#endif
