// clone3 + execveat with namespaces, identity map, capabilities and descriptors set in between. One C
// function, because between clone and exec only system calls may happen: the caller's other threads (if any)
// may hold malloc's or Swift's locks for ever in the child. The child tells a failure through a pipe that
// exec closes, so the caller knows whether the program runs.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Stages by number, so that the pipe carries no pointer.
enum stage { MAKE_PIPE, CLONE, MAP_IDS, SESSION, DEATH_SIGNAL, CAPABILITIES, DESCRIPTORS, EXECUTE };
static const char *const stages[] = {
    [MAKE_PIPE] = "make a pipe",
    [CLONE] = "clone3 with new namespaces",
    [MAP_IDS] = "write the id maps of the user namespace",
    [SESSION] = "start a session",
    [DEATH_SIGNAL] = "set the parent-death signal",
    [CAPABILITIES] = "cut the capabilities",
    [DESCRIPTORS] = "arrange the descriptors",
    [EXECUTE] = "execute the program",
};
struct report {
    int stage;
    int error;
};

static int write_file(const char *path, const char *text, size_t length) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t written = write(fd, text, length);
    int error = errno;
    close(fd);
    errno = error;
    return written == (ssize_t)length ? 0 : -1;
}

// "ID ID 1": the one id that an unprivileged process may map is its own, and it keeps its number, which is
// not 0: nothing in the namespace is ever root.
static int map_id(const char *path, unsigned id) {
    char text[40];
    int length = snprintf(text, sizeof text, "%u %u 1\n", id, id);
    return write_file(path, text, (size_t)length);
}

static int map_ids(uid_t uid, gid_t gid) {
    // The kernel takes an unprivileged gid map only after setgroups is given up.
    if (write_file("/proc/self/setgroups", "deny", 4) < 0) return -1;
    if (map_id("/proc/self/uid_map", uid) < 0) return -1;
    return map_id("/proc/self/gid_map", gid);
}

// Kept over exec are: for uid 0 what the bounding set leaves, for others what is ambient.
static int keep_capabilities(uint64_t kept) {
    for (int number = 0; prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++) {
        if (kept >> number & 1) continue;
        if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) return -1;
    }
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)kept, (uint32_t)kept, (uint32_t)kept},
        {(uint32_t)(kept >> 32), (uint32_t)(kept >> 32), (uint32_t)(kept >> 32)},
    };
    if (syscall(SYS_capset, &head, data) < 0) return -1;
    for (int number = 0; number < 64; number++) {
        if (!(kept >> number & 1)) continue;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0) return -1;
    }
    return 0;
}

// First everything moves out of the way (a target may be another's source), then to its place. The report
// pipe and the program file end above all targets and are closed by exec.
static int arrange(const struct locum_isolated *order, int *report, int *executable) {
    enum { MOST = 16 };
    int moved[MOST];
    int floor = 3;
    if (order->descriptors > MOST) {
        errno = E2BIG;
        return -1;
    }
    for (int i = 0; i < order->descriptors; i++) {
        if (order->to[i] >= floor) floor = order->to[i] + 1;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || (null = fcntl(null, F_DUPFD_CLOEXEC, floor)) < 0) return -1;
    if ((*report = fcntl(*report, F_DUPFD_CLOEXEC, floor)) < 0) return -1;
    if ((*executable = fcntl(*executable, F_DUPFD_CLOEXEC, floor)) < 0) return -1;
    for (int i = 0; i < order->descriptors; i++) {
        if ((moved[i] = fcntl(order->from[i], F_DUPFD_CLOEXEC, floor)) < 0) return -1;
    }
    for (int standard = 0; standard < 3; standard++) {
        if (dup2(null, standard) < 0) return -1;
    }
    for (int gap = 3; gap < floor; gap++) close(gap);
    for (int i = 0; i < order->descriptors; i++) {
        if (dup2(moved[i], order->to[i]) < 0) return -1;
    }
    return (int)syscall(SYS_close_range, floor, ~0u, CLOSE_RANGE_CLOEXEC);
}

static _Noreturn void child(const struct locum_isolated *order, int report, uid_t uid, gid_t gid) {
    struct report failure;
    int executable = order->executable;
    failure.stage = MAP_IDS;
    if (order->namespaces & LOCUM_NEW_USER && map_ids(uid, gid) < 0) goto failed;
    failure.stage = SESSION;
    if (setsid() < 0 || locum_reset_signals() < 0) goto failed;
    failure.stage = DEATH_SIGNAL;
    if (locum_set_parent_death_signal(SIGKILL) < 0) goto failed;
    failure.stage = CAPABILITIES;
    if (keep_capabilities(order->capabilities) < 0) goto failed;
    failure.stage = DESCRIPTORS;
    if (arrange(order, &report, &executable) < 0) goto failed;
    failure.stage = EXECUTE;
    syscall(SYS_execveat, executable, "", order->arguments, order->environment, AT_EMPTY_PATH);
failed:
    failure.error = errno;
    if (write(report, &failure, sizeof failure) < 0) _exit(126);
    _exit(127);
}

pid_t locum_start_isolated(struct locum_isolated *order) {
    int ends[2];
    // Inside a new user namespace ids read as 65534 until they are mapped, so they are read here.
    uid_t uid = geteuid();
    gid_t gid = getegid();
    order->stage = stages[MAKE_PIPE];
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    pid_t pid = locum_clone3(order->namespaces, &order->pidfd);
    if (pid == 0) child(order, ends[1], uid, gid);
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        order->stage = stages[CLONE];
        errno = error;
        return -1;
    }
    struct report failure;
    ssize_t got;
    do {
        got = read(ends[0], &failure, sizeof failure);
    } while (got < 0 && errno == EINTR);
    close(ends[0]);
    if (got == 0) return pid; // exec closed the pipe
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    close(order->pidfd);
    bool whole = got == (ssize_t)sizeof failure && failure.stage >= 0 && failure.stage <= EXECUTE;
    order->stage = stages[whole ? failure.stage : EXECUTE];
    errno = whole ? failure.error : EPROTO;
    return -1;
}
