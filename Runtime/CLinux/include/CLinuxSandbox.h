// Kernel calls of the sandbox. As in CLinux.h no policy lives here: what is dropped, mapped or closed is
// said by the caller (module Sandbox), which also says why. All return -1 and set errno on failure unless
// they say otherwise.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// --- starting a process in namespaces of its own ------------------------------------------------
#define LOCUM_NEW_MOUNTS 0x00020000ull
#define LOCUM_NEW_UTS 0x04000000ull
#define LOCUM_NEW_IPC 0x08000000ull
#define LOCUM_NEW_USER 0x10000000ull
#define LOCUM_NEW_PIDS 0x20000000ull
#define LOCUM_NEW_NETWORK 0x40000000ull

/// A program to start by locum_start_isolated.
struct locum_isolated {
    int executable;            // descriptor of the program file
    char *const *arguments;    // NULL at the end
    char *const *environment;  // NULL at the end
    const int *from;           // descriptors here …
    const int *to;             // … and their numbers there; all others are closed, 0 to 2 become /dev/null
    int descriptors;
    uint64_t namespaces;       // LOCUM_NEW_*
    uint64_t capabilities;     // bit set of those kept over exec, in the new user namespace if there is one
    int pidfd;                 // out
    const char *stage;         // out, on failure: what failed
};
/// Starts the program and waits until it was executed. Returns its pid. After the clone only system calls
/// are made, so a caller with several threads is safe too. On failure nothing is left behind.
pid_t locum_start_isolated(struct locum_isolated *order);

// --- root folder --------------------------------------------------------------------------------
/// Replaces the root folder by an empty, read-only file system without room for anything and lets go of
/// the old one. *stage says what failed.
int locum_empty_root(const char **stage);
int locum_set_hostname(const char *name);
/// Entries of /proc/self/task; -1 where there is no /proc.
int locum_thread_count(void);
/// Hyperthreads of one core run this process and those it forks together, or one of them alone, never one of them beside
/// a stranger (PR_SCHED_CORE). EINVAL: not in this kernel; ENODEV: no hyperthreads.
int locum_share_no_core(void);
/// Ends speculative store bypass and (`flush`) has the L1 data cache flushed at switches, where the processor and the kernel
/// offer that to a thread; children inherit it. 1 + 2: what is in force. Who asks for the flush is ended by SIGBUS when he
/// runs on a core with a second hyperthread.
int locum_limit_speculation(bool flush);

// --- identity and privileges --------------------------------------------------------------------
/// Default action for every signal, none blocked.
int locum_reset_signals(void);
/// None blocked; actions stay.
int locum_unblock_signals(void);
/// No supplementary groups, then gid and uid for good (real, effective, saved).
int locum_become(uid_t uid, gid_t gid);
int locum_set_no_new_privileges(void);
/// Sets soft and hard limit of `resource` to at most `value`.
int locum_lower_limit(int resource, uint64_t value);
#define LOCUM_LIMIT_FILE_SIZE 1
#define LOCUM_LIMIT_DATA 2
#define LOCUM_LIMIT_CORE 4
#define LOCUM_LIMIT_FILES 7
#define LOCUM_LIMIT_QUEUES 12
/// Raises the soft limit of open files to the hard one.
int locum_raise_file_limit(void);
/// Closes every descriptor but those in `keep`, which must be ascending.
int locum_close_all_but(const int *keep, int count);
/// malloc with one arena, small thresholds and no reserve: for processes of which there are many.
void locum_malloc_frugally(void);
/// Fills `bytes` from the kernel's generator.
int locum_random(void *bytes, size_t count);

// --- Landlock -----------------------------------------------------------------------------------
/// Version of the kernel's Landlock; -1 when there is none (ENOSYS: not built in, EOPNOTSUPP: switched off).
int locum_landlock_version(void);
/// A rule set that handles everything `version` knows and allows nothing of it.
int locum_landlock_ruleset(int version);
/// Lets the file or folder of descriptor `fd` and what is below it be read, or also written, made and removed.
int locum_landlock_allow(int ruleset, int version, int fd, bool writing);
/// Lets TCP port `port` be listened on, where the version knows ports.
int locum_landlock_allow_port(int ruleset, int version, uint16_t port);
int locum_landlock_restrict(int ruleset);

// --- seccomp ------------------------------------------------------------------------------------
/// Loads `count` instructions (struct sock_filter, 8 bytes each) into every thread of the process.
int locum_seccomp_load(const void *instructions, uint16_t count);
bool locum_seccomp_can_kill_process(void);
