#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <linux/sched.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

pid_t locum_clone3(uint64_t flags, int *pidfd) {
    struct clone_args arguments;
    memset(&arguments, 0, sizeof arguments);
    arguments.flags = flags;
    arguments.exit_signal = SIGCHLD;
    if (pidfd) {
        arguments.flags |= CLONE_PIDFD;
        arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int locum_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
int locum_pidfd_signal(int pidfd, int signal) { return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }
int locum_set_parent_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0); }

int locum_allowed_cpus(int *cpus, int capacity) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return -1;
    int n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set)) continue;
        if (n < capacity) cpus[n] = cpu;
        n++;
    }
    return n;
}

int locum_allow_cpus(const int *cpus, int count) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < count; i++) CPU_SET(cpus[i], &set);
    return sched_setaffinity(0, sizeof set, &set);
}

int locum_pin_to_cpu(int cpu) { return locum_allow_cpus(&cpu, 1); }

int locum_take_short_turns(uint64_t nanoseconds) {
    // sched_attr as of its first version; the kernel's header cannot be included beside glibc's <sched.h>.
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {
        .size = sizeof attributes,
        .policy = SCHED_OTHER,
        .flags = SCHED_FLAG_RESET_ON_FORK,
        .nice = getpriority(PRIO_PROCESS, 0),
        .runtime = nanoseconds,
    };
    return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

struct start {
    void (*body)(void *);
    void *argument;
};

static void *run(void *raw) {
    struct start start = *(struct start *)raw;
    free(raw);
    start.body(start.argument);
    return NULL;
}

int locum_thread_start(void (*body)(void *), void *argument, size_t stack) {
    struct start *start = malloc(sizeof *start);
    if (!start) return -1;
    start->body = body;
    start->argument = argument;
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (!error) error = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (!error) error = pthread_attr_setstacksize(&attributes, (stack + 4095) & ~(size_t)4095);
    if (!error) error = pthread_create(&thread, &attributes, run, start);
    pthread_attr_destroy(&attributes);
    if (error) {
        free(start);
        errno = error;
        return -1;
    }
    return 0;
}

uint64_t locum_untold_cpu_ns(uint64_t *told) {
    struct timespec now;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) < 0) return 0;
    uint64_t used = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    uint64_t before = __atomic_load_n(told, __ATOMIC_RELAXED);
    do {
        if (used <= before) return 0;
    } while (!__atomic_compare_exchange_n(told, &before, used, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return used - before;
}

void locum_set_thread_name(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

void locum_single_arena(void) { mallopt(M_ARENA_MAX, 1); }
void locum_map_blocks_from(int bytes) {
    mallopt(M_MMAP_THRESHOLD, bytes);
    mallopt(M_TRIM_THRESHOLD, 2 * bytes);
}

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif
int locum_core_scheduling(void) {
    uint64_t cookie = 0;
    return prctl(PR_SCHED_CORE, 0 /* PR_SCHED_CORE_GET */, 0, 0 /* this thread */, &cookie);
}
