// What a hostile worker would try, one function per attempt, and how a test starts the probe program under
// another uid. For tests only.
#pragma once
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>

/// Numbers of calls whose arguments policies look at; Swift does not import the macros.
static const int probe_sys_fcntl = SYS_fcntl;
static const int probe_sys_futex = SYS_futex;
static const int probe_sys_madvise = SYS_madvise;
static const int probe_sys_mmap = SYS_mmap;
static const int probe_sys_mprotect = SYS_mprotect;
static const int probe_sys_mremap = SYS_mremap;
static const int probe_sys_pkey_mprotect = SYS_pkey_mprotect;
static const int probe_sys_setsockopt = SYS_setsockopt;

/// Number of attempts.
int probe_count(void);
/// Name of attempt `index`.
const char *probe_name(int index);
/// What it would be good for.
const char *probe_gain(int index);
/// Whether it may be tried outside a sandbox to show that it would succeed there.
bool probe_harmless(int index);
/// Makes the attempt: what the kernel answered, or -errno.
long probe_run(int index);
/// Index by name; -1 when there is none.
int probe_find(const char *name);

/// Starts `executable` (descriptor) as `uid` with arguments {"locum-probe", mode, NULL}, the two filters as
/// descriptors 4 and 5, and pipes at 0 and 1 whose other ends come back. Returns its pid.
pid_t probe_launch(int executable, uid_t uid, const char *mode, int expert, int router, int *input, int *output);

/// Memory that all processes forked from here on share; once, before the first fork.
void probe_share(void);
/// Counts up counter `index` (below 256) of that memory, which all forked processes share: 1, 2, …
unsigned probe_count_up(int index);

/// Takes memory until there is no more: the heap, or the stack.
void probe_heap_bomb(void);
void probe_stack_bomb(void);

/// Counts the calling thread and waits for work, of which there is one piece in a process's life.
void probe_park(void);
/// Waits until `count` threads are parked.
void probe_await_parked(int count);
/// Has a thread make a system call with six arguments: what the kernel answered, or -errno. Thread 0 is the caller,
/// others are numbered as they parked. LONG_MIN when the thread ended by it.
long probe_call(int thread, long number, const unsigned long *arguments);
