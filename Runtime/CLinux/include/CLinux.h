// System calls and constants that Swift's Glibc module lacks. No policy lives here: each function is
// one kernel call (or one cmsg dance) with its result handed back. All return -1 and set errno on failure
// unless they say otherwise.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// --- descriptors and memory -------------------------------------------------------------------
int locum_memfd_create(const char *name, unsigned flags);
#define LOCUM_MFD_CLOEXEC 1u
#define LOCUM_MFD_ALLOW_SEALING 2u
int locum_add_seals(int fd, int seals);
int locum_get_seals(int fd);
#define LOCUM_F_SEAL_SEAL 1
#define LOCUM_F_SEAL_SHRINK 2
#define LOCUM_F_SEAL_GROW 4
#define LOCUM_F_SEAL_WRITE 8
/// pipe2 with O_CLOEXEC: ends[0] reads, ends[1] writes.
int locum_pipe(int ends[2]);
/// Closes all descriptors in [first, last].
int locum_close_range(unsigned first, unsigned last);
int locum_set_cloexec(int fd, bool on);
int locum_set_nonblocking(int fd, bool on);
/// mmap that answers NULL on failure (MAP_FAILED does not import into Swift).
void *locum_map(size_t length, int protection, int flags, int fd, off_t offset);
void *locum_map_anonymous(size_t length);
/// Reads a mapped file's pages in and maps them (MADV_POPULATE_READ), in large requests. EFAULT: a page cannot be
/// read (an error of the disk, or the file is shorter than the mapping). Where the kernel lacks it (before 5.14),
/// the pages are asked for and come in when touched.
int locum_populate(void *start, size_t length);
/// Has the pages of a mapped file that come in from now on come as few large ones where the file system can: measured on
/// ext4 (6.18), 4.9 MB from a cold disk take 3.0 to 3.7 ms instead of 5.9, 0.1 ms of CPU instead of 1.0, and go in 0.04 ms
/// instead of 0.8. It costs nothing elsewhere.
void locum_expect_large_pages(void *start, size_t length);
/// This memory is charged page by page as it is touched, whatever the host's setting for large pages.
void locum_expect_small_pages(void *start, size_t length);
/// Unmaps a mapped file's pages, locked ones too; the mapping stays. They are in the page cache until its owner
/// has them dropped.
int locum_unmap_pages(void *start, size_t length);
/// Locks pages of a mapping as they come in (MLOCK_ONFAULT), against the kernel's own reclaim. EPERM, ENOMEM: beyond
/// what this process may lock.
int locum_lock_on_fault(const void *start, size_t length);
/// An O_TMPFILE-less unnamed-until-linked file is made by the caller; this is fallocate(2).
int locum_fallocate(int fd, off_t length);
/// getxattr(2).
ssize_t locum_get_attribute(const char *path, const char *name, void *value, size_t size);

// --- sockets ----------------------------------------------------------------------------------
int locum_seqpacket_pair(int ends[2]);
/// Sends one message with up to 253 descriptors. Never raises SIGPIPE. Retries on EINTR.
ssize_t locum_send(int socket, const void *bytes, size_t length, const int *fds, int count, int flags);
/// Length of the next message, which stays; 0 at end of file. Flags as in locum_receive.
ssize_t locum_message_length(int socket, int flags);
/// Receives one message; descriptors come close-on-exec. *count is capacity in, number out.
/// A peer that ended is no failure: what it said before comes first, then the end of file (0).
/// *truncated becomes true when data or descriptors did not fit (the message must then be refused).
ssize_t locum_receive(int socket, void *bytes, size_t length, int *fds, int *count, bool *truncated, int flags);
#define LOCUM_MSG_DONTWAIT 0x40
/// socket/bind/listen/connect on a unix path of at most 107 bytes. type: SOCK_STREAM 1, SOCK_SEQPACKET 5.
int locum_unix_listen(const char *path, int type, int backlog, mode_t mode);
int locum_unix_connect(const char *path, int type);
int locum_accept(int socket);
/// SO_PEERCRED.
int locum_peer(int socket, pid_t *pid, uid_t *uid, gid_t *gid);
/// 1 when the peer of a unix socket had the group when it connected, as its first or a supplementary one; else 0.
int locum_peer_has_group(int socket, gid_t group);
int locum_set_buffers(int socket, int bytes);
/// SO_RCVTIMEO: a blocking receive gives up with EAGAIN after that long.
int locum_set_receive_timeout(int socket, int milliseconds);

// --- waiting ----------------------------------------------------------------------------------
struct locum_event {
    uint32_t events;
    uint64_t token;
} __attribute__((packed)); // as struct epoll_event on x86-64; epoll.c asserts it
int locum_epoll_create(void);
#define LOCUM_IN 1u
#define LOCUM_OUT 4u
#define LOCUM_ERR 8u
#define LOCUM_HUP 16u
int locum_epoll_add(int epoll, int fd, uint32_t events, uint64_t token);
int locum_epoll_modify(int epoll, int fd, uint32_t events, uint64_t token);
int locum_epoll_remove(int epoll, int fd);
/// Returns the number of events, 0 on timeout or EINTR. timeout in milliseconds, -1 waits for ever.
int locum_epoll_wait(int epoll, struct locum_event *events, int capacity, int timeout);
/// signalfd for the given signals, which get blocked in the calling thread.
int locum_signal_descriptor(const int *signals, int count);
/// Reads one signal number from a signalfd; 0 when there is none.
int locum_signal_read(int fd);
int locum_timer_descriptor(void);
/// One shot after `nanoseconds`; 0 disarms.
int locum_timer_set(int fd, uint64_t nanoseconds);
/// eventfd, non-blocking.
int locum_event_descriptor(void);
int locum_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_ns /* < 0: for ever */);
int locum_futex_wake(const uint32_t *word, int count);
/// The same on a word that two processes share; waits for ever.
int locum_futex_wait_shared(const uint32_t *word, uint32_t expected);
int locum_futex_wake_shared(const uint32_t *word, int count);
/// Spins for at most about `ns` nanoseconds while *word is `value`. True when it changed.
bool locum_spin_while(const uint32_t *word, uint32_t value, uint64_t ns);

// --- time -------------------------------------------------------------------------------------
/// CLOCK_MONOTONIC in nanoseconds; the same clock in every process of the host.
uint64_t locum_monotonic_ns(void);

// --- processes and threads --------------------------------------------------------------------
/// fork(2) by clone3 with `flags` (CLONE_NEW*, …); *pidfd gets a pidfd when not NULL. 0 in the child.
pid_t locum_clone3(uint64_t flags, int *pidfd);
int locum_pidfd_open(pid_t pid);
int locum_pidfd_signal(int pidfd, int signal);
int locum_set_parent_death_signal(int signal);
/// CPUs this thread may run on, ascending; returns how many there are (at most capacity are written).
int locum_allowed_cpus(int *cpus, int capacity);
int locum_pin_to_cpu(int cpu);
/// Lets this thread run on these CPUs and no others.
int locum_allow_cpus(const int *cpus, int count);
/// Asks for turns on a core this short, in return for getting them sooner when this thread wakes (Linux 6.12 and later;
/// before, nothing changes). Not inherited by children.
int locum_take_short_turns(uint64_t nanoseconds);
/// CPU time of this process, all threads, beyond what `*told` says, in nanoseconds; that says so from now on. Of two threads
/// that ask at once each time is told to one.
uint64_t locum_untold_cpu_ns(uint64_t *told);
/// Starts a detached thread on a small stack (bytes, rounded up to pages) and runs body(argument).
int locum_thread_start(void (*body)(void *), void *argument, size_t stack);
void locum_set_thread_name(const char *name);
/// Whether cores can be kept from strangers (PR_SCHED_CORE). EINVAL: not in this kernel; ENODEV: no hyperthreads.
int locum_core_scheduling(void);
/// One malloc arena for all threads of this process (M_ARENA_MAX), so that lanes cost no heap of their own.
void locum_single_arena(void);
/// Blocks of `bytes` and more get a mapping of their own and leave nothing in the heap when they are freed; the
/// heap keeps twice as much at its end. Low for a process that needs a large block now and then and has to stay
/// small, high for one that needs such blocks all the time.
void locum_map_blocks_from(int bytes);
/// For a process that has nothing to do for now: free heap goes to the kernel, and code and constants of the program
/// and its libraries are unmapped until they are used again.
void locum_give_back(void);

// --- link headers: what travels on a lane (see module Link) -----------------------------------
#define LOCUM_CALL_MAGIC 0x4C41434Cu
#define LOCUM_REPLY_MAGIC 0x5045524Cu
#define LOCUM_LINK_VERSION 1
#define LOCUM_CALL_APPLY 1 // apply experts to rows
#define LOCUM_CALL_TRIM 2  // all answers on this lane have been read, their pages may go; not answered
/// A call of an expert function. Offsets are bytes into the caller's request arena (rows, pairs) and
/// the callee's reply arena (output). rows: row_count x width float32. pairs: pair_count x locum_pair.
/// output: pair_count x width float32, in the order of the pairs.
struct locum_call {
    uint32_t magic;
    uint16_t version;
    uint16_t kind; // LOCUM_CALL_…
    uint64_t call;
    uint64_t rows_offset;
    uint64_t pairs_offset;
    uint64_t output_offset;
    uint32_t row_count;
    uint32_t width;
    uint32_t pair_count;
    uint32_t reserved;
};
struct locum_pair {
    uint32_t row;    // index into rows
    uint32_t expert; // the function's local expert index
};
#define LOCUM_REPLY_OK 0
#define LOCUM_REPLY_DRAINING 1
#define LOCUM_REPLY_BAD_CALL 2
#define LOCUM_REPLY_UNREADABLE 3 // the shard's pages cannot be read
struct locum_reply {
    uint32_t magic;
    uint16_t version;
    uint16_t status;
    uint64_t call;
    uint32_t pair_count;
    uint32_t reserved;
    uint64_t cpu_ns;  // CPU time of the callee that no reply has told yet: this call's part of it
    uint64_t load_ns; // until the shard's pages were there
};

/// Where a worker's shard is. Node grants room and wants it back; the worker reads and drops. Each change is a
/// compare-and-exchange, so that of two lanes (or a lane and node) one makes it.
///
///                                                              ◄──worker: a call came──
///     absent ──node──► granted ──worker──► loading ──worker──► resident ──node──► leaving
///        ▲                                    └──► unreadable                        │ worker, idle
///        └────────────────────────────worker──────────────────────────── dropping ◄──┘
#define LOCUM_SHARD_ABSENT 0u
#define LOCUM_SHARD_GRANTED 1u
#define LOCUM_SHARD_LOADING 2u
#define LOCUM_SHARD_RESIDENT 3u
#define LOCUM_SHARD_LEAVING 4u
#define LOCUM_SHARD_DROPPING 5u
#define LOCUM_SHARD_UNREADABLE 6u

/// One page shared by a worker and node. Usage: the worker writes, node reads without waking it; counters of all
/// lanes are added with relaxed atomics. `shard`: see above.
struct locum_status_page {
    uint64_t invocations;
    uint64_t rows;
    uint64_t last_active_ns;  // CLOCK_MONOTONIC of the last answer (or of becoming ready)
    uint64_t first_answer_ns; // 0 until the first answer
    uint64_t ready_ns;
    uint64_t active;          // calls or sequences under way now
    uint32_t shard;           // LOCUM_SHARD_…
    uint32_t reserved;
};
void locum_status_begin(struct locum_status_page *page);
/// One call ended: `rows` rows were computed.
void locum_status_end(struct locum_status_page *page, uint64_t rows);
void locum_status_ready(struct locum_status_page *page);
/// A sequence gives a sign of life: moves last_active_ns to now (and sets first_answer_ns at the first).
void locum_status_touch(struct locum_status_page *page);
struct locum_status_page locum_status_read(const struct locum_status_page *page);
/// Calls that ended, by themselves: cheap enough to ask of thousands.
uint64_t locum_status_invocations(const struct locum_status_page *page);
/// Calls or sequences under way, ordered against `locum_shard_move`: whoever moves the shard to `leaving` and then
/// sees 0 here knows that every later call sees `leaving`.
uint64_t locum_status_active(const struct locum_status_page *page);
uint32_t locum_shard_state(const struct locum_status_page *page);
/// True when the state was `from`; it is `to` then, and whoever waits is woken.
bool locum_shard_move(struct locum_status_page *page, uint32_t from, uint32_t to);
/// Sleeps while the state is `state`; may return early.
void locum_shard_wait(const struct locum_status_page *page, uint32_t state);

#include "CLinuxSandbox.h"
