// Identity, limits, descriptors: what a process gives up about itself.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int locum_reset_signals(void) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int signal = 1; signal < NSIG; signal++) {
        sigaction(signal, &action, NULL); // SIGKILL, SIGSTOP and libc's own two cannot be set and need not be
    }
    return locum_unblock_signals();
}

int locum_unblock_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

int locum_become(uid_t uid, gid_t gid) {
    if (syscall(SYS_setgroups, 0, NULL) < 0) return -1;
    if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -1;
    return (int)syscall(SYS_setresuid, uid, uid, uid);
}

int locum_limit_speculation(bool flush) {
    // 0 and 2 are PR_SPEC_STORE_BYPASS and PR_SPEC_L1D_FLUSH of PR_SET_SPECULATION_CTRL (53); PR_SPEC_FORCE_DISABLE ends
    // the speculation for good, PR_SPEC_ENABLE switches the flush on.
    int done = 0;
    if (prctl(53, 0, 1UL << 3, 0, 0) == 0) done |= 1;
    if (flush && prctl(53, 2, 1UL << 1, 0, 0) == 0) done |= 2;
    return done;
}

int locum_share_no_core(void) { return prctl(62 /* PR_SCHED_CORE */, 1 /* CREATE */, 0, 1 /* the process */, 0); }

int locum_set_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }

int locum_lower_limit(int resource, uint64_t value) {
    struct rlimit limit;
    if (getrlimit(resource, &limit) < 0) return -1;
    if (limit.rlim_max > value) limit.rlim_max = value;
    if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
    return setrlimit(resource, &limit);
}
_Static_assert(LOCUM_LIMIT_FILE_SIZE == RLIMIT_FSIZE && LOCUM_LIMIT_CORE == RLIMIT_CORE, "limits");
_Static_assert(LOCUM_LIMIT_DATA == RLIMIT_DATA, "limits");
_Static_assert(LOCUM_LIMIT_FILES == RLIMIT_NOFILE && LOCUM_LIMIT_QUEUES == RLIMIT_MSGQUEUE, "limits");

int locum_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

int locum_close_all_but(const int *keep, int count) {
    unsigned first = 0;
    for (int i = 0; i < count; i++) {
        unsigned next = (unsigned)keep[i];
        if (next < first) {
            errno = EINVAL;
            return -1;
        }
        if (next > first && locum_close_range(first, next - 1) < 0) return -1;
        first = next + 1;
    }
    return locum_close_range(first, ~0u);
}

void locum_malloc_frugally(void) {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 64 << 10);
    mallopt(M_TRIM_THRESHOLD, 64 << 10);
    mallopt(M_TOP_PAD, 0);
}

int locum_random(void *bytes, size_t count) { return getrandom(bytes, count, 0) == (ssize_t)count ? 0 : -1; }
