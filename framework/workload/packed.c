/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a file, plain or gzip. Not zlib's gzread: what follows a gzip stream and is none itself it passes over.
 */
#include "packed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define IN_BYTES ((size_t)1 << 16)

struct packed {
  const char *path;
  int fd;
  bool ended, gzip;
  bool inside; /* a stream, whose end is still to come */
  z_stream stream;
  unsigned char in[IN_BYTES];
};

/* What is written behind the end once it was seen is not read: lines_rewind tells of it. */
static td_status read_more(struct packed *packed) {
  size_t count = 0;
  while (!packed->ended && count < sizeof packed->in) {
    ssize_t got = read(packed->fd, packed->in + count, sizeof packed->in - count);
    if (got < 0) return td_fail(TD_IO, "%s: %s", packed->path, strerror(errno));
    packed->ended = got == 0;
    count += (size_t)got;
  }
  packed->stream.next_in = packed->in;
  packed->stream.avail_in = (uInt)count;
  return TD_OK;
}

static td_status begin(struct packed *packed) {
  packed->ended = false;
  TD_TRY(read_more(packed));
  packed->gzip = packed->stream.avail_in >= 2 && packed->in[0] == 0x1f && packed->in[1] == 0x8b;
  packed->inside = packed->gzip;
  return TD_OK;
}

td_status packed_open(const char *path, int fd, struct packed **out_packed) {
  struct packed *packed = NULL;
  TD_TRY(td_alloc(1, sizeof *packed, (void **)&packed));
  packed->path = path;
  packed->fd = fd;
  if (inflateInit2(&packed->stream, 16 + MAX_WBITS) != Z_OK) {
    free(packed);
    return td_fail(TD_NO_MEMORY, "%s: no memory to read it", path);
  }
  td_status status = begin(packed);
  if (status) {
    packed_close(packed);
    return status;
  }
  *out_packed = packed;
  return TD_OK;
}

void packed_close(struct packed *packed) {
  if (!packed) return;
  inflateEnd(&packed->stream);
  free(packed);
}

td_status packed_rewind(struct packed *packed) {
  if (lseek(packed->fd, 0, SEEK_SET)) return td_fail(TD_IO, "%s: %s", packed->path, strerror(errno));
  inflateReset(&packed->stream);
  return begin(packed);
}

/* Until there is output, or no more input: then inflate has nothing to do, which it calls a buffer error. */
static td_status unpack(struct packed *packed) {
  z_stream *stream = &packed->stream;
  for (const uInt room = stream->avail_out; stream->avail_out == room;) {
    if (!stream->avail_in) TD_TRY(read_more(packed));
    if (!packed->inside && !stream->avail_in) return TD_OK;
    if (!packed->inside) inflateReset(stream); /* another stream begins where one ended */
    int code = inflate(stream, Z_NO_FLUSH);
    packed->inside = code != Z_STREAM_END;
    if (code == Z_OK || code == Z_STREAM_END) continue;
    if (code == Z_BUF_ERROR) return td_fail(TD_CORRUPT, "%s: found a gzip file that is cut short", packed->path);
    return td_fail(TD_CORRUPT, "%s: found gzip data that does not unpack: %s", packed->path,
                   stream->msg ? stream->msg : zError(code));
  }
  return TD_OK;
}

static void copy(z_stream *stream) {
  uInt count = stream->avail_in < stream->avail_out ? stream->avail_in : stream->avail_out;
  memcpy(stream->next_out, stream->next_in, count);
  stream->next_in += count;
  stream->avail_in -= count;
  stream->avail_out -= count;
}

td_status packed_read(struct packed *packed, void *to, size_t most, size_t *out_got) {
  packed->stream.next_out = to;
  packed->stream.avail_out = (uInt)most;
  if (packed->gzip) {
    TD_TRY(unpack(packed));
  } else {
    if (!packed->stream.avail_in) TD_TRY(read_more(packed));
    copy(&packed->stream);
  }
  *out_got = most - packed->stream.avail_out;
  return TD_OK;
}
