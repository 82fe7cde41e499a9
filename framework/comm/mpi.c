/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranks over MPI. After start, one thread per rank makes every MPI call (MPI_THREAD_SERIALIZED is enough): it sends
 * what others queued, and probes for what arrives. It sleeps on a condition variable between looks, shortly while
 * messages come and 200 us at a time when none has for a while, because a blocking MPI receive would spin and take a
 * core from the workers.
 */
#ifdef TANDEM_HAVE_MPI
#include <mpi.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "tandem/base.h"
#include "transport.h"

enum { TAG_HEADER = 1, TAG_PAYLOAD = 2, TAG_CLOCK = 3, CLOCK_ROUNDS = 16, PIECE = 1 << 30, TEXT_BYTES = 1024 };
enum { NAP_BUSY_NS = 10000, NAP_IDLE_NS = 200000, BUSY_MS = 2 };

struct outgoing {
  struct outgoing *next;
  int32_t to;
  struct td_message message; /* doubles as the wire header: type, worker, bytes */
  MPI_Request *requests;
  int request_count;
};

struct mpi {
  struct td_transport base;
  td_deliver deliver;
  void *context;
  pthread_t thread;
  bool started;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  struct outgoing *queued, **queued_end; /* under lock */
  bool closing;                          /* under lock */
  struct outgoing *in_flight;            /* the thread's own */
};

static void free_outgoing(struct outgoing *out) {
  free(out->message.data);
  free(out->requests);
  free(out);
}

static td_status mpi_send(struct td_transport *transport, int32_t to, struct td_message *message) {
  struct mpi *mpi = (struct mpi *)transport;
  if (to == transport->rank) {
    mpi->deliver(mpi->context, message);
    return TD_OK;
  }
  struct outgoing *out = calloc(1, sizeof *out);
  if (!out) {
    free(message->data);
    return td_fail(TD_NO_MEMORY, "no memory for a message");
  }
  out->to = to;
  out->message = *message;
  pthread_mutex_lock(&mpi->lock);
  *mpi->queued_end = out;
  mpi->queued_end = &out->next;
  pthread_cond_signal(&mpi->wake);
  pthread_mutex_unlock(&mpi->lock);
  return TD_OK;
}

static int piece_count(uint64_t bytes) {
  return (int)((bytes + PIECE - 1) / PIECE);
}

/* MPI counts are int: payloads over 1 GiB travel in pieces. */
static int piece_bytes(uint64_t bytes, int piece) {
  uint64_t left = bytes - (uint64_t)piece * PIECE;
  return left < PIECE ? (int)left : PIECE;
}

static void begin_sending(struct mpi *mpi, struct outgoing *out) {
  int pieces = piece_count(out->message.bytes);
  out->requests = calloc((size_t)pieces + 1, sizeof *out->requests);
  if (!out->requests) MPI_Abort(MPI_COMM_WORLD, 1);
  MPI_Isend(&out->message, (int)sizeof out->message, MPI_BYTE, out->to, TAG_HEADER, MPI_COMM_WORLD,
            &out->requests[out->request_count++]);
  for (int i = 0; i < pieces; i++) {
    MPI_Isend((char *)out->message.data + (size_t)i * PIECE, piece_bytes(out->message.bytes, i), MPI_BYTE, out->to,
              TAG_PAYLOAD, MPI_COMM_WORLD, &out->requests[out->request_count++]);
  }
  out->next = mpi->in_flight;
  mpi->in_flight = out;
}

static void reap_sent(struct mpi *mpi) {
  for (struct outgoing **link = &mpi->in_flight; *link;) {
    struct outgoing *out = *link;
    int done;
    MPI_Testall(out->request_count, out->requests, &done, MPI_STATUSES_IGNORE);
    if (!done) {
      link = &out->next;
      continue;
    }
    *link = out->next;
    free_outgoing(out);
  }
}

static bool receive_one(struct mpi *mpi) {
  int found;
  MPI_Status from;
  MPI_Iprobe(MPI_ANY_SOURCE, TAG_HEADER, MPI_COMM_WORLD, &found, &from);
  if (!found) return false;
  struct td_message message;
  MPI_Recv(&message, (int)sizeof message, MPI_BYTE, from.MPI_SOURCE, TAG_HEADER, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  message.data = malloc(message.bytes ? message.bytes : 1);
  if (!message.data) MPI_Abort(MPI_COMM_WORLD, 1);
  for (int i = 0; i < piece_count(message.bytes); i++) {
    MPI_Recv((char *)message.data + (size_t)i * PIECE, piece_bytes(message.bytes, i), MPI_BYTE, from.MPI_SOURCE,
             TAG_PAYLOAD, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  mpi->deliver(mpi->context, &message);
  return true;
}

static struct outgoing *take_queued(struct mpi *mpi, bool *out_closing) {
  pthread_mutex_lock(&mpi->lock);
  struct outgoing *list = mpi->queued;
  mpi->queued = NULL;
  mpi->queued_end = &mpi->queued;
  *out_closing = mpi->closing;
  pthread_mutex_unlock(&mpi->lock);
  return list;
}

static void sleep_until_queued(struct mpi *mpi, long ns) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += ns;
  if (until.tv_nsec >= 1000000000) {
    until.tv_nsec -= 1000000000;
    until.tv_sec++;
  }
  pthread_mutex_lock(&mpi->lock);
  if (!mpi->queued) pthread_cond_timedwait(&mpi->wake, &mpi->lock, &until);
  pthread_mutex_unlock(&mpi->lock);
}

/* Closing is a consensus: a rank whose own messages are out enters a non-blocking barrier and goes on receiving until
 * everybody is there, or a late message to it would hang its sender. */
static bool everybody_closes(struct mpi *mpi, MPI_Request *barrier) {
  int done = 0;
  if (*barrier == MPI_REQUEST_NULL && !mpi->in_flight) MPI_Ibarrier(MPI_COMM_WORLD, barrier);
  if (*barrier != MPI_REQUEST_NULL) MPI_Test(barrier, &done, MPI_STATUS_IGNORE);
  return done;
}

static void *communicate(void *argument) {
  struct mpi *mpi = argument;
  MPI_Request barrier = MPI_REQUEST_NULL;
  int64_t last_busy_ps = 0;
  prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL); /* naps of the length asked for, not 50 us more */
  for (;;) {
    bool closing, busy = false;
    for (struct outgoing *out = take_queued(mpi, &closing), *next; out; out = next) {
      next = out->next;
      begin_sending(mpi, out);
      busy = true;
    }
    while (receive_one(mpi)) busy = true;
    reap_sent(mpi);
    if (closing && !busy && everybody_closes(mpi, &barrier)) return NULL;
    int64_t now_ps = td_now_ps();
    if (busy || mpi->in_flight) last_busy_ps = now_ps;
    bool recently = now_ps - last_busy_ps < BUSY_MS * TD_PS_PER_SECOND / 1000;
    sleep_until_queued(mpi, recently ? NAP_BUSY_NS : NAP_IDLE_NS);
  }
}

static td_status mpi_start(struct td_transport *transport, td_deliver deliver, void *context) {
  struct mpi *mpi = (struct mpi *)transport;
  mpi->deliver = deliver;
  mpi->context = context;
  if (pthread_create(&mpi->thread, NULL, communicate, mpi)) {
    /* the other ranks are past the last point where they could be told */
    fprintf(stderr, "tandem: rank %d: cannot start a thread\n", transport->rank);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  mpi->started = true;
  return TD_OK;
}

static void mpi_close(struct td_transport *transport) {
  struct mpi *mpi = (struct mpi *)transport;
  if (mpi->started) {
    pthread_mutex_lock(&mpi->lock);
    mpi->closing = true;
    pthread_cond_signal(&mpi->wake);
    pthread_mutex_unlock(&mpi->lock);
    pthread_join(mpi->thread, NULL);
  }
  MPI_Finalize();
  pthread_cond_destroy(&mpi->wake);
  pthread_mutex_destroy(&mpi->lock);
  free(transport->clock_offset);
  free(mpi);
}

static td_status mpi_agree(struct td_transport *transport, td_status status) {
  int mine = status ? transport->rank : transport->ranks, lowest;
  MPI_Allreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if (lowest == transport->ranks) return TD_OK;
  char text[TEXT_BYTES] = "";
  int code = (int)status;
  snprintf(text, sizeof text, "%s", td_error_text());
  MPI_Bcast(&code, 1, MPI_INT, lowest, MPI_COMM_WORLD);
  MPI_Bcast(text, sizeof text, MPI_BYTE, lowest, MPI_COMM_WORLD);
  return lowest ? td_fail((enum td_code)code, "rank %d: %s", lowest, text) : td_fail((enum td_code)code, "%s", text);
}

static const struct td_transport_table mpi_table = {
    .size = sizeof mpi_table,
    .name = "mpi",
    .send = mpi_send,
    .start = mpi_start,
    .close = mpi_close,
    .agree = mpi_agree,
};

/* Rank 0 asks each rank for its clock; the round trip that took least says most. */
static void measure_clocks(struct td_transport *transport) {
  for (int32_t rank = 1; rank < transport->ranks; rank++) {
    int64_t best = INT64_MAX;
    for (int round = 0; round < CLOCK_ROUNDS; round++) {
      int64_t there = 0, before = td_now_ps();
      if (transport->rank == 0) {
        MPI_Send(&there, 0, MPI_BYTE, rank, TAG_CLOCK, MPI_COMM_WORLD);
        MPI_Recv(&there, sizeof there, MPI_BYTE, rank, TAG_CLOCK, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        int64_t after = td_now_ps();
        if (after - before >= best) continue;
        best = after - before;
        transport->clock_offset[rank] = there - (before + best / 2);
      } else if (transport->rank == rank) {
        MPI_Recv(&there, 0, MPI_BYTE, 0, TAG_CLOCK, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        there = td_now_ps();
        MPI_Send(&there, sizeof there, MPI_BYTE, 0, TAG_CLOCK, MPI_COMM_WORLD);
      }
    }
  }
}

static void init_lock(struct mpi *mpi) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&mpi->wake, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&mpi->lock, NULL);
}

td_status td_transport_open_mpi(struct td_transport **out_transport) {
  struct mpi *mpi;
  int provided, rank, ranks;
  TD_TRY(td_alloc(1, sizeof *mpi, (void **)&mpi));
  MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
  if (provided < MPI_THREAD_SERIALIZED) {
    free(mpi);
    MPI_Finalize();
    return td_fail(TD_UNAVAILABLE, "MPI gives thread level %d, expected MPI_THREAD_SERIALIZED", provided);
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  mpi->base = (struct td_transport){.table = &mpi_table, .rank = rank, .ranks = ranks};
  mpi->queued_end = &mpi->queued;
  if (td_alloc((size_t)ranks, sizeof(int64_t), (void **)&mpi->base.clock_offset)) MPI_Abort(MPI_COMM_WORLD, 1);
  init_lock(mpi);
  measure_clocks(&mpi->base);
  *out_transport = &mpi->base;
  return TD_OK;
}
#else
typedef int td_mpi_not_built; /* ISO C wants a declaration */
#endif
