#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

int locum_memfd_create(const char *name, unsigned flags) { return (int)syscall(SYS_memfd_create, name, flags); }
int locum_add_seals(int fd, int seals) { return fcntl(fd, F_ADD_SEALS, seals); }
int locum_get_seals(int fd) { return fcntl(fd, F_GET_SEALS); }
int locum_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }
int locum_close_range(unsigned first, unsigned last) { return (int)syscall(SYS_close_range, first, last, 0); }
int locum_set_cloexec(int fd, bool on) { return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0); }

int locum_set_nonblocking(int fd, bool on) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -1;
    return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void *locum_map(size_t length, int protection, int flags, int fd, off_t offset) {
    void *at = mmap(NULL, length, protection, flags, fd, offset);
    return at == MAP_FAILED ? NULL : at;
}

void *locum_map_anonymous(size_t length) {
    return locum_map(length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

// Not in the headers of every libc that we build with.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

int locum_populate(void *start, size_t length) {
    int done;
    do done = madvise(start, length, MADV_POPULATE_READ);
    while (done < 0 && (errno == EINTR || errno == EAGAIN));
    if (done < 0 && errno == EINVAL) return madvise(start, length, MADV_WILLNEED);
    return done;
}

void locum_expect_large_pages(void *start, size_t length) { madvise(start, length, MADV_HUGEPAGE); }

void locum_expect_small_pages(void *start, size_t length) { madvise(start, length, MADV_NOHUGEPAGE); }

int locum_unmap_pages(void *start, size_t length) {
    int done = madvise(start, length, MADV_DONTNEED_LOCKED);
    // Unknown before 5.18; then nothing was locked on fault that this could not drop.
    return done < 0 && errno == EINVAL ? madvise(start, length, MADV_DONTNEED) : done;
}

int locum_lock_on_fault(const void *start, size_t length) { return mlock2(start, length, MLOCK_ONFAULT); }

int locum_fallocate(int fd, off_t length) { return fallocate(fd, 0, 0, length); }

ssize_t locum_get_attribute(const char *path, const char *name, void *value, size_t size) {
    return getxattr(path, name, value, size);
}
