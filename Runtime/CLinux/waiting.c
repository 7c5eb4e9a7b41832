#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#ifdef __x86_64__
_Static_assert(sizeof(struct locum_event) == sizeof(struct epoll_event), "epoll_event layout");
#endif

int locum_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data.u64 = token};
    return epoll_ctl(epoll, operation, fd, &event);
}
int locum_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
    return control(epoll, EPOLL_CTL_ADD, fd, events, token);
}
int locum_epoll_modify(int epoll, int fd, uint32_t events, uint64_t token) {
    return control(epoll, EPOLL_CTL_MOD, fd, events, token);
}
int locum_epoll_remove(int epoll, int fd) { return control(epoll, EPOLL_CTL_DEL, fd, 0, 0); }

int locum_epoll_wait(int epoll, struct locum_event *events, int capacity, int timeout) {
    enum { BATCH = 64 };
    struct epoll_event ready[BATCH];
    int n = epoll_wait(epoll, ready, capacity < BATCH ? capacity : BATCH, timeout);
    if (n < 0) return errno == EINTR ? 0 : -1;
    for (int i = 0; i < n; i++) {
        events[i].events = ready[i].events;
        events[i].token = ready[i].data.u64;
    }
    return n;
}

int locum_signal_descriptor(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int locum_signal_read(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

int locum_timer_descriptor(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); }

int locum_timer_set(int fd, uint64_t nanoseconds) {
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)}};
    return timerfd_settime(fd, 0, &at, NULL);
}

int locum_event_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

static int futex_wait(const uint32_t *word, int operation, uint32_t expected, int64_t timeout_ns) {
    struct timespec wait = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    return (int)syscall(SYS_futex, word, operation, expected, timeout_ns < 0 ? NULL : &wait, NULL, 0);
}
int locum_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_ns) {
    return futex_wait(word, FUTEX_WAIT_PRIVATE, expected, timeout_ns);
}
int locum_futex_wake(const uint32_t *word, int count) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}
int locum_futex_wait_shared(const uint32_t *word, uint32_t expected) {
    return futex_wait(word, FUTEX_WAIT, expected, -1);
}
int locum_futex_wake_shared(const uint32_t *word, int count) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool locum_spin_while(const uint32_t *word, uint32_t value, uint64_t ns) {
    uint64_t end = 0;
    for (;;) {
        for (int i = 0; i < 32; i++) {
            if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) return true;
            relax();
        }
        uint64_t now = locum_monotonic_ns();
        if (!end) end = now + ns;
        if (now >= end) return false;
    }
}

uint64_t locum_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
