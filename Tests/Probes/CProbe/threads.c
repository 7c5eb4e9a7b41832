// Threads of a probe's worker: they start before the filter is loaded, wait, and one of them makes one call.
#define _GNU_SOURCE
#include "CProbe.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int parked;
static struct {
    unsigned handed, done; // futex words
    int thread;
    long number, answer;
    unsigned long arguments[6];
} work;

static void wait_while(unsigned *word, unsigned value, const struct timespec *limit) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, limit, NULL, 0);
}

static long make_call(void) {
    const unsigned long *a = work.arguments;
    long result = syscall(work.number, a[0], a[1], a[2], a[3], a[4], a[5]);
    return result == -1 ? -errno : result;
}

void probe_park(void) {
    int own = __atomic_add_fetch(&parked, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&work.handed, __ATOMIC_ACQUIRE) == 0) wait_while(&work.handed, 0, NULL);
    if (work.thread == own) {
        work.answer = make_call();
        __atomic_store_n(&work.done, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, &work.done, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
    static unsigned never;
    for (;;) wait_while(&never, 0, NULL);
}

void probe_await_parked(int count) {
    while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE) < count) sched_yield();
}

long probe_call(int thread, long number, const unsigned long *arguments) {
    work.number = number;
    work.thread = thread;
    for (int i = 0; i < 6; i++) work.arguments[i] = arguments[i];
    if (thread == 0) return make_call();
    __atomic_store_n(&work.handed, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &work.handed, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    struct timespec limit = {.tv_nsec = 300000000};
    if (__atomic_load_n(&work.done, __ATOMIC_ACQUIRE) == 0) wait_while(&work.done, 0, &limit);
    return __atomic_load_n(&work.done, __ATOMIC_ACQUIRE) ? work.answer : LONG_MIN;
}
