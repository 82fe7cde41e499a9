/* SPDX-License-Identifier: Apache-2.0 */
#include "part.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pages.h"
#include "tandem/base.h"

#define SUPERBLOCK_BYTES 96 /* of the earliest format */
/* Chunks of rows begin at a multiple, so they are whole pages. */
#define ALIGNED_BYTES (32 * 1024)

struct td_part {
  int fd;
  int direct; /* the same file, past the system's page cache; -1: its file system cannot */
  char *path;
  uint64_t size;  /* of the file, as committed */
  uint64_t end;   /* of the file, as HDF5 sees it */
  uint64_t ahead; /* end of what was written ahead of the next commit */
  int lost;       /* errno of rows that did not reach the file; every later commit fails with it */
  struct td_pages pages;
};

/* What HDF5 holds. The part outlives it, so that a commit can follow H5Fclose. */
struct driver_file {
  H5FD_t base; /* HDF5's; must be first */
  struct td_part *part;
  haddr_t allocated;
};

static td_status io_error(const struct td_part *part, const char *what) {
  return td_fail(TD_IO, "trace %s: cannot %s: %s", part->path, what, strerror(errno));
}

/* ---- one run at a time ---- */

static bool is_named(int fd, const char *path) {
  struct stat ours, named;
  return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* Of a place behind all bytes, and of another kind than HDF5's own locks, which readers take. Where a file system has
 * no locks, only td_part_is tells in the end that somebody else wrote. */
static bool is_taken(int fd) {
  struct flock place = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = INT64_MAX - 1, .l_len = 1};
  return fcntl(fd, F_OFD_SETLK, &place) && (errno == EAGAIN || errno == EACCES);
}

static td_status taken(const char *path) {
  return td_fail(TD_IO, "trace %s: found that another run is writing it, expected a file of one run", path);
}

/* The file that an ended run left at `path`, so that nobody else replaces it meanwhile; -1 if there is none. */
static td_status claim_left(const char *path, int *out_fd) {
  int fd;
  while ((fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) >= 0) {
    bool busy = is_taken(fd), named = is_named(fd, path);
    if (!busy && named) break;
    close(fd);
    if (busy && named) return taken(path);
  }
  *out_fd = fd;
  return TD_OK;
}

static td_status remove_left(const struct td_part *part) {
  int left = -1;
  TD_TRY(claim_left(part->path, &left));
  td_status status = unlink(part->path) && errno != ENOENT ? io_error(part, "replace") : TD_OK;
  if (left >= 0) close(left);
  return status;
}

static td_status create(struct td_part *part) {
  TD_TRY(remove_left(part));
  part->fd = open(part->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (part->fd < 0) return errno == EEXIST ? taken(part->path) : io_error(part, "create");
  return is_taken(part->fd) || !is_named(part->fd, part->path) ? taken(part->path) : TD_OK;
}

td_status td_part_create(const char *path, struct td_part **out_part) {
  struct td_part *part = NULL;
  TD_TRY(td_alloc(1, sizeof *part, (void **)&part));
  part->fd = part->direct = -1;
  td_status status = td_copy_text(path, &part->path);
  if (!status) status = create(part);
  if (!status) part->direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (status) {
    td_part_free(part);
    return status;
  }
  *out_part = part;
  return TD_OK;
}

td_status td_part_publish(struct td_part *part, const char *path) {
  char *copy = NULL;
  int left = -1;
  TD_TRY(claim_left(path, &left));
  td_status status = td_copy_text(path, &copy);
  if (!status && rename(part->path, path)) {
    status = td_fail(TD_IO, "trace %s: cannot create: %s", path, strerror(errno));
  }
  if (left >= 0) close(left);
  if (status) {
    free(copy);
    return status;
  }
  free(part->path);
  part->path = copy;
  return TD_OK;
}

int td_part_is(const struct td_part *part, const char *path) {
  return is_named(part->fd, path);
}

void td_part_free(struct td_part *part) {
  if (!part) return;
  if (part->fd >= 0) close(part->fd);
  if (part->direct >= 0) close(part->direct);
  td_pages_clear(&part->pages);
  free(part->path);
  free(part);
}

/* ---- commit ---- */

/* 0 or the system's reason. */
static int put(int fd, const unsigned char *data, size_t bytes, uint64_t offset) {
  while (bytes) {
    ssize_t done = pwrite(fd, data, bytes, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done ? errno : EIO;
    data += done;
    bytes -= (size_t)done;
    offset += (uint64_t)done;
  }
  return 0;
}

static td_status write_at(const struct td_part *part, const unsigned char *data, size_t bytes, uint64_t offset) {
  int code = put(part->fd, data, bytes, offset);
  errno = code;
  return code ? io_error(part, "write") : TD_OK;
}

/* Claims the space of the whole growth, so that a full disk is met before anything changes. */
static td_status claim_space(const struct td_part *part) {
  if (part->end <= part->size) return TD_OK;
  int code = posix_fallocate(part->fd, (off_t)part->size, (off_t)(part->end - part->size));
  if (code == EINVAL || code == EOPNOTSUPP || code == ENOSYS) code = ftruncate(part->fd, (off_t)part->end) ? errno : 0;
  errno = code;
  return code ? io_error(part, "write") : TD_OK;
}

/* Rank of a page in a commit. Data and pages nobody points to yet come first, then the chunk indices, then the object
 * headers with the tables' lengths: a reader that meets the file in between sees the old lengths. */
static int page_rank(const struct td_part *part, const struct td_page *page) {
  if (page->kind == TD_PAGE_DATA || page->number * TD_PAGE_BYTES >= part->size) return 0;
  return page->kind == TD_PAGE_INDEX ? 1 : 2;
}

/* From the end to the beginning: the headers were made first and lie in front of their indices, also where a page
 * holds both. */
static td_status write_rank(const struct td_part *part, int rank) {
  for (size_t i = part->pages.count; i-- > 0;) {
    const struct td_page *page = &part->pages.items[i];
    uint64_t offset = page->number * TD_PAGE_BYTES;
    if (page_rank(part, page) != rank || offset >= part->end) continue;
    uint64_t bytes = part->end - offset < TD_PAGE_BYTES ? part->end - offset : TD_PAGE_BYTES;
    TD_TRY(write_at(part, page->data, (size_t)bytes, offset));
  }
  return TD_OK;
}

/* The superblock carries the file's length: larger than needed is harmless, smaller is not, so it precedes. */
static td_status write_superblock(const struct td_part *part) {
  if (!part->size || !part->pages.count || part->pages.items[0].number != 0) return TD_OK;
  return write_at(part, part->pages.items[0].data, SUPERBLOCK_BYTES, 0);
}

static td_status commit_pages(struct td_part *part) {
  TD_TRY(claim_space(part));
  TD_TRY(write_rank(part, 0));
  TD_TRY(write_superblock(part));
  TD_TRY(write_rank(part, 1));
  TD_TRY(write_rank(part, 2));
  if (part->end < part->size && ftruncate(part->fd, (off_t)part->end)) return io_error(part, "shorten");
  part->size = part->end;
  part->ahead = 0;
  td_pages_clear(&part->pages);
  return TD_OK;
}

/* A write over RLIMIT_FSIZE also raises SIGXFSZ, which would end the program; it must end as an error instead. */
struct quiet {
  sigset_t limit, before;
};

static void quiet_begin(struct quiet *quiet) {
  sigemptyset(&quiet->limit);
  sigaddset(&quiet->limit, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &quiet->limit, &quiet->before);
}

static void quiet_end(const struct quiet *quiet, bool failed) {
  if (failed && !sigismember(&quiet->before, SIGXFSZ)) sigtimedwait(&quiet->limit, NULL, &(struct timespec){0, 0});
  pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
}

td_status td_part_check(const struct td_part *part) {
  errno = part->lost;
  return part->lost ? io_error(part, "write") : TD_OK;
}

td_status td_part_commit(struct td_part *part) {
  struct quiet quiet;
  TD_TRY(td_part_check(part));
  quiet_begin(&quiet);
  td_status status = commit_pages(part);
  quiet_end(&quiet, status != TD_OK);
  return status;
}

/* Chunks go past the page cache where the file system takes them so: what a run writes nobody reads soon, and fresh
 * pages for it can cost several times what copying does, up to as much as the simulation itself. */
static int put_ahead(struct td_part *part, const unsigned char *data, size_t bytes, uint64_t offset) {
  if (part->direct >= 0 && (uintptr_t)data % TD_PAGE_BYTES == 0) {
    int code = put(part->direct, data, bytes, offset);
    if (code != EINVAL) return code;
    close(part->direct); /* it was opened so, and is not taken so */
    part->direct = -1;
  }
  return put(part->fd, data, bytes, offset);
}

/* Whole pages behind the committed end of the file: nothing that is there points to them, so they need not wait. A
 * failure is the next commit's: HDF5 never sees one. */
static void write_ahead(struct td_part *part, uint64_t address, const unsigned char *data, size_t bytes) {
  struct quiet quiet;
  quiet_begin(&quiet);
  int code = put_ahead(part, data, bytes, address);
  if (code && ftruncate(part->fd, (off_t)part->size)) code = errno; /* gives back what does not count */
  quiet_end(&quiet, code != 0);
  part->lost = code;
  if (address + bytes > part->ahead) part->ahead = address + bytes;
}

/* ---- the driver ---- */

static struct td_part *part_of(H5FD_t *file) {
  return ((struct driver_file *)(void *)file)->part;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t max) {
  (void)name, (void)flags, (void)max;
  struct td_part *const *part = H5Pget_driver_info(access);
  struct driver_file *file = part ? calloc(1, sizeof *file) : NULL;
  if (!file) return NULL;
  file->part = *part;
  return &file->base;
}

static herr_t driver_close(H5FD_t *file) {
  free(file);
  return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags) {
  (void)file;
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA;
  return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const struct driver_file *)(const void *)file)->allocated;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t address) {
  (void)type;
  ((struct driver_file *)(void *)file)->allocated = address;
  return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const struct driver_file *)(const void *)file)->part->end;
}

/* Bytes of the file; zeros where it has none. */
static int load_page(void *context, uint64_t number, unsigned char *data) {
  const struct td_part *part = context;
  uint64_t offset = number * TD_PAGE_BYTES, end = part->size > part->ahead ? part->size : part->ahead;
  size_t have = 0;
  while (offset + have < end && have < TD_PAGE_BYTES) {
    ssize_t got = pread(part->fd, data + have, TD_PAGE_BYTES - have, (off_t)(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    have += (size_t)got;
  }
  memset(data + have, 0, TD_PAGE_BYTES - have);
  return 0;
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes, void *out) {
  (void)type, (void)transfer;
  struct td_part *part = part_of(file);
  return td_pages_read(&part->pages, address, bytes, out, load_page, part);
}

/* Writes ahead what it may; the bytes in front of and behind whole pages wait with their pages. */
static herr_t write_rows(struct td_part *part, uint64_t address, size_t bytes, const unsigned char *data) {
  uint64_t first = (address + TD_PAGE_BYTES - 1) / TD_PAGE_BYTES, end = (address + bytes) / TD_PAGE_BYTES;
  size_t head = (size_t)(first * TD_PAGE_BYTES - address);
  bool ahead = part->size && address >= part->size && first < end && !td_pages_any(&part->pages, first, end);
  if (!ahead) return td_pages_write(&part->pages, address, bytes, data, TD_PAGE_DATA, load_page, part);
  size_t whole = (size_t)(end - first) * TD_PAGE_BYTES, tail = bytes - head - whole;
  if (!part->lost) write_ahead(part, first * TD_PAGE_BYTES, data + head, whole);
  if (td_pages_write(&part->pages, address, head, data, TD_PAGE_DATA, load_page, part)) return -1;
  return td_pages_write(&part->pages, end * TD_PAGE_BYTES, tail, data + head + whole, TD_PAGE_DATA, load_page, part);
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t address, size_t bytes,
                           const void *data) {
  (void)transfer;
  struct td_part *part = part_of(file);
  enum td_page_kind kind = type == H5FD_MEM_BTREE ? TD_PAGE_INDEX : TD_PAGE_HEADER;
  herr_t done = type == H5FD_MEM_DRAW ? write_rows(part, address, bytes, data)
                                      : td_pages_write(&part->pages, address, bytes, data, kind, load_page, part);
  if (!done && address + bytes > part->end) part->end = address + bytes;
  return done;
}

static herr_t driver_truncate(H5FD_t *file, hid_t transfer, hbool_t closing) {
  (void)transfer, (void)closing;
  part_of(file)->end = ((struct driver_file *)(void *)file)->allocated;
  return 0;
}

static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = 513, /* of the range that HDF5 leaves to private drivers */
#endif
    .name = "tandem_part",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(struct td_part *),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

hid_t td_part_access(struct td_part *part) {
  static hid_t id; /* registered once; HDF5 drops it when the program ends */
  if (id <= 0) id = H5FDregister(&driver);
  hid_t access = id > 0 ? H5Pcreate(H5P_FILE_ACCESS) : -1;
  if (access < 0) return -1;
  /* One block holds the metadata of most traces, so that a commit touches few pages. */
  if (H5Pset_driver(access, id, &part) < 0 ||
      H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST) < 0 ||
      H5Pset_meta_block_size(access, 64 * 1024) < 0 || H5Pset_alignment(access, ALIGNED_BYTES, ALIGNED_BYTES) < 0) {
    H5Pclose(access);
    return -1;
  }
  return access;
}
