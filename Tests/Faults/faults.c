// Faults for tests: loaded into one daemon (LD_PRELOAD), it counts what the process does to files below one folder
// and lets the N-th operation fail, or the process die there. The products know nothing of it. The test holds the
// other side of a small shared file, so that one process goes through many faults:
//
//   LOCUM_FAULT_PROGRAM  name of the process that is meant; all others are left alone
//   LOCUM_FAULT_FOLDER   only what lies below it counts; its run/ does not, where there are only sockets
//   LOCUM_FAULT_PLAN     the shared file, struct plan
//
// Descriptors are told apart by /proc/self/fd, so a file that was renamed or received from elsewhere counts as well.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, ALLOCATE, MKDIR, MODE, KINDS };
enum how { COUNT, FAIL, BROKEN, FULL, KILL, PAUSE };

struct plan {
    uint32_t armed, how, at, count;
    // 1 + the kind of the operation that met the fault.
    uint32_t met;
    uint32_t paused, go;
    uint32_t kinds[KINDS];
};

static struct plan *plan;
static char folder[4096];
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
    const char *program = getenv("LOCUM_FAULT_PROGRAM"), *path = getenv("LOCUM_FAULT_PLAN");
    const char *below = getenv("LOCUM_FAULT_FOLDER");
    if (!program || !path || !below || strcmp(program, program_invocation_short_name) != 0) return;
    folder_length = (size_t)snprintf(folder, sizeof folder, "%s", below);
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || map == MAP_FAILED) {
        fprintf(stderr, "faults: cannot use %s: %s\n", path, strerror(errno));
        _exit(99);
    }
    close(file);
    plan = map;
}

static int is_meant(const char *path) {
    if (!plan || !path || strncmp(path, folder, folder_length) != 0) return 0;
    const char *rest = path + folder_length;
    return *rest == 0 || (*rest == '/' && strncmp(rest, "/run/", 5) != 0);
}

static int is_meant_file(int file) {
    if (!plan) return 0;
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_meant(path);
}

/// What becomes of an operation: 0, an error's number, or -1 for a write that is to end in the middle of it.
static int fate(enum kind kind) {
    int before = errno, result = 0;
    if (__atomic_load_n(&plan->armed, __ATOMIC_ACQUIRE)) {
        uint32_t number = __atomic_add_fetch(&plan->count, 1, __ATOMIC_ACQ_REL);
        __atomic_add_fetch(&plan->kinds[kind], 1, __ATOMIC_RELAXED);
        int takes_room = kind == CREATE || kind == WRITE || kind == ALLOCATE || kind == MKDIR;
        int now = number == plan->at || (plan->how == BROKEN && number > plan->at);
        if (plan->how == FULL) now = number >= plan->at && takes_room;
        if (now && plan->how != COUNT) {
            if (!plan->met) plan->met = 1 + kind;
            if (plan->how == FAIL || plan->how == BROKEN) result = EIO;
            if (plan->how == FULL) result = ENOSPC;
            if (plan->how == KILL && kind == WRITE) result = -1;
            else if (plan->how == KILL) kill(getpid(), SIGKILL);
            if (plan->how == PAUSE) {
                __atomic_store_n(&plan->paused, 1, __ATOMIC_RELEASE);
                struct timespec pause = {0, 500000};
                while (!__atomic_load_n(&plan->go, __ATOMIC_ACQUIRE)) nanosleep(&pause, NULL);
            }
        }
    }
    errno = before;
    return result;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(kind, meant) \
    if (meant) { \
        int error = fate(kind); \
        if (error > 0) return errno = error, -1; \
    }

static int mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, int) : 0;
}
// Opening what is there changes nothing; opening what is not makes it.
static int creates(const char *path, int flags) {
    return flags & O_CREAT && is_meant(path) && access(path, F_OK) != 0;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list arguments; \
        va_start(arguments, flags); \
        int mode = mode_of(flags, arguments); \
        va_end(arguments); \
        FAILS(CREATE, creates(path, flags)) \
        return REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        va_list arguments; \
        va_start(arguments, flags); \
        int mode = mode_of(flags, arguments); \
        va_end(arguments); \
        FAILS(CREATE, creates(path, flags)) \
        return REAL(name)(at, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

/// A write that a death interrupts has done its first half.
#define WRITES(half) \
    if (is_meant_file(file)) { \
        int error = fate(WRITE); \
        if (error > 0) return errno = error, -1; \
        if (error < 0) { \
            (void)!(half); \
            kill(getpid(), SIGKILL); \
        } \
    }

ssize_t write(int file, const void *bytes, size_t count) {
    WRITES(REAL(write)(file, bytes, count / 2))
    return REAL(write)(file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    WRITES(REAL(pwrite)(file, bytes, count / 2, offset))
    return REAL(pwrite)(file, bytes, count, offset);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    WRITES(REAL(pwrite64)(file, bytes, count / 2, offset))
    return REAL(pwrite64)(file, bytes, count, offset);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    WRITES(REAL(writev)(file, parts, count / 2))
    return REAL(writev)(file, parts, count);
}

int fsync(int file) {
    FAILS(SYNC, is_meant_file(file))
    return REAL(fsync)(file);
}
int fdatasync(int file) {
    FAILS(SYNC, is_meant_file(file))
    return REAL(fdatasync)(file);
}
int rename(const char *from, const char *to) {
    FAILS(RENAME, is_meant(to))
    return REAL(rename)(from, to);
}
int link(const char *from, const char *to) {
    FAILS(RENAME, is_meant(to))
    return REAL(link)(from, to);
}
int unlink(const char *path) {
    FAILS(UNLINK, is_meant(path) && access(path, F_OK) == 0)
    return REAL(unlink)(path);
}
int ftruncate(int file, off_t length) {
    FAILS(TRUNCATE, is_meant_file(file))
    return REAL(ftruncate)(file, length);
}
int ftruncate64(int file, off64_t length) {
    FAILS(TRUNCATE, is_meant_file(file))
    return REAL(ftruncate64)(file, length);
}
int fallocate(int file, int mode, off_t offset, off_t length) {
    FAILS(ALLOCATE, is_meant_file(file))
    return REAL(fallocate)(file, mode, offset, length);
}
int fallocate64(int file, int mode, off64_t offset, off64_t length) {
    FAILS(ALLOCATE, is_meant_file(file))
    return REAL(fallocate64)(file, mode, offset, length);
}
// These two answer the error's number.
int posix_fallocate(int file, off_t offset, off_t length) {
    int error = is_meant_file(file) ? fate(ALLOCATE) : 0;
    return error ? error : REAL(posix_fallocate)(file, offset, length);
}
int posix_fallocate64(int file, off64_t offset, off64_t length) {
    int error = is_meant_file(file) ? fate(ALLOCATE) : 0;
    return error ? error : REAL(posix_fallocate64)(file, offset, length);
}
int mkdir(const char *path, mode_t mode) {
    FAILS(MKDIR, is_meant(path) && access(path, F_OK) != 0)
    return REAL(mkdir)(path, mode);
}
int chmod(const char *path, mode_t mode) {
    FAILS(MODE, is_meant(path) && access(path, F_OK) == 0)
    return REAL(chmod)(path, mode);
}
int fchmod(int file, mode_t mode) {
    FAILS(MODE, is_meant_file(file))
    return REAL(fchmod)(file, mode);
}
