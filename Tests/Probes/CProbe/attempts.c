// Each attempt is a raw system call, so that libc's own checks do not stand in for the sandbox's. Arguments
// are such that the call would do something (or at least get past its first checks) if it were let through.
#define _GNU_SOURCE
#include "CProbe.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static long answer(long result) { return result == -1 ? -errno : result; }
#define TRY(name, ...) \
    static long name(void) { return answer(syscall(__VA_ARGS__)); }

static char page[4096] __attribute__((aligned(4096)));

TRY(try_open, SYS_open, "/", O_RDONLY)
TRY(try_openat, SYS_openat, AT_FDCWD, "/", O_RDONLY)
TRY(try_creat, SYS_creat, "/x", 0600)
TRY(try_mkdir, SYS_mkdir, "/x", 0700)
TRY(try_chdir, SYS_chdir, "/")
TRY(try_stat, SYS_stat, "/", page)
TRY(try_readlink, SYS_readlink, "/proc/self/exe", page, sizeof page)
TRY(try_socket_unix, SYS_socket, AF_UNIX, SOCK_STREAM, 0)
TRY(try_socket_inet, SYS_socket, AF_INET, SOCK_STREAM, 0)
TRY(try_socket_netlink, SYS_socket, AF_NETLINK, SOCK_RAW, 0)
TRY(try_socket_packet, SYS_socket, AF_PACKET, SOCK_RAW, 0)
static long try_socketpair(void) {
    int ends[2];
    return answer(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, ends));
}
static long child_ends(long pid) {
    if (pid == 0) syscall(SYS_exit_group, 0);
    return answer(pid);
}
static long try_fork(void) { return child_ends(syscall(SYS_fork)); }
static long try_clone(void) { return child_ends(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); }
static long try_clone_user(void) { return child_ends(syscall(SYS_clone, SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0)); }
static long try_clone3(void) {
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    return child_ends(syscall(SYS_clone3, &arguments, sizeof arguments));
}
TRY(try_execve, SYS_execve, "/proc/self/exe", NULL, NULL)
TRY(try_execveat, SYS_execveat, AT_FDCWD, "", NULL, NULL, AT_EMPTY_PATH)
TRY(try_ptrace_me, SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)
TRY(try_ptrace_attach, SYS_ptrace, PTRACE_SEIZE, 2, 0, 0)
TRY(try_mmap_executable, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
TRY(try_mmap_all, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
TRY(try_mprotect_executable, SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC)
TRY(try_pkey_mprotect, SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1)
TRY(try_memfd_create, SYS_memfd_create, "x", 0)
TRY(try_kill_other, SYS_kill, 2, SIGKILL)
TRY(try_kill_all, SYS_kill, -1, SIGKILL)
TRY(try_tkill, SYS_tkill, 2, SIGKILL)
TRY(try_tgkill, SYS_tgkill, 2, 2, SIGKILL)
TRY(try_pidfd_open, SYS_pidfd_open, 1, 0)
TRY(try_pidfd_getfd, SYS_pidfd_getfd, 3, 0, 0)
static long try_sigqueue(void) {
    siginfo_t information = {.si_code = SI_QUEUE};
    return answer(syscall(SYS_rt_sigqueueinfo, 2, SIGKILL, &information));
}
static long try_vm_read(void) {
    struct iovec here = {page, 16}, there = {page, 16};
    return answer(syscall(SYS_process_vm_readv, 1, &here, 1, &there, 1, 0));
}
static long try_vm_write(void) {
    struct iovec here = {page, 16}, there = {page, 16};
    return answer(syscall(SYS_process_vm_writev, 1, &here, 1, &there, 1, 0));
}
TRY(try_mount, SYS_mount, "x", "/", "tmpfs", 0, NULL)
TRY(try_remount, SYS_mount, NULL, "/", NULL, 4128 /* MS_REMOUNT | MS_BIND */, NULL)
TRY(try_umount, SYS_umount2, "/", 2)
TRY(try_pivot_root, SYS_pivot_root, "/", "/")
TRY(try_chroot, SYS_chroot, "/")
TRY(try_fsopen, SYS_fsopen, "tmpfs", 0)
TRY(try_open_tree, SYS_open_tree, AT_FDCWD, "/", 1)
TRY(try_unshare_user, SYS_unshare, CLONE_NEWUSER)
TRY(try_unshare_mount, SYS_unshare, CLONE_NEWNS)
TRY(try_setns, SYS_setns, 0, 0)
static long try_bpf(void) {
    union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return answer(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
}
static long try_perf(void) {
    struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes};
    attributes.exclude_kernel = 1;
    return answer(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}
static long try_io_uring(void) {
    memset(page, 0, sizeof page);
    return answer(syscall(SYS_io_uring_setup, 4, page));
}
TRY(try_userfaultfd, SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */)
TRY(try_keyctl, SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3, 1)
TRY(try_add_key, SYS_add_key, "user", "x", "y", 1, -3)
TRY(try_prctl_dumpable, SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0)
TRY(try_prctl_seccomp, SYS_prctl, 22 /* PR_SET_SECCOMP */, 0, 0, 0, 0)
TRY(try_seccomp, SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, page)
TRY(try_setuid, SYS_setuid, 0)
TRY(try_setresuid, SYS_setresuid, 0, 0, 0)
TRY(try_setgid, SYS_setgid, 0)
TRY(try_setgroups, SYS_setgroups, 0, NULL)
static long try_capset(void) {
    uint32_t head[2] = {0x20080522, 0}, sets[6] = {1 << 21, 1 << 21, 0, 0, 0, 0};
    return answer(syscall(SYS_capset, head, sets));
}
TRY(try_ioctl_input, SYS_ioctl, 0, TIOCSTI, "x")
TRY(try_personality, SYS_personality, 0x0400000 /* READ_IMPLIES_EXEC */)
TRY(try_modify_ldt, SYS_modify_ldt, 0, page, sizeof page)
TRY(try_iopl, SYS_iopl, 3)
TRY(try_reboot, SYS_reboot, 0, 0, 0, 0) // wrong magic: harmless even if let through
TRY(try_init_module, SYS_init_module, NULL, 0, "")
TRY(try_syslog, SYS_syslog, 3, page, sizeof page)
TRY(try_shmget, SYS_shmget, 0, 4096, 01600)
TRY(try_mq_open, SYS_mq_open, "x", O_CREAT | O_RDWR, 0600, NULL)
TRY(try_inotify, SYS_inotify_init1, 0)
TRY(try_fanotify, SYS_fanotify_init, 0, 0)
TRY(try_affinity, SYS_sched_setaffinity, 0, sizeof page, page)
static long try_prlimit(void) {
    struct rlimit limit = {1 << 20, 1 << 20};
    return answer(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL));
}
TRY(try_sethostname, SYS_sethostname, "x", 1)
TRY(try_uname, SYS_uname, page)
TRY(try_getdents, SYS_getdents64, 3, page, sizeof page)
static long try_abstract(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0daemon"};
    return answer(syscall(SYS_connect, 3, &address, sizeof address));
}
TRY(try_socket_inet6, SYS_socket, AF_INET6, SOCK_DGRAM, 0)
TRY(try_socket_vsock, SYS_socket, AF_VSOCK, SOCK_STREAM, 0)
TRY(try_socket_alg, SYS_socket, AF_ALG, SOCK_SEQPACKET, 0)
TRY(try_socket_xdp, SYS_socket, AF_XDP, SOCK_RAW, 0)
TRY(try_socket_bluetooth, SYS_socket, AF_BLUETOOTH, SOCK_RAW, 1)
TRY(try_socket_can, SYS_socket, AF_CAN, SOCK_RAW, 1)
TRY(try_bind, SYS_bind, 3, page, 16)
static long try_clone_mounts(void) { return child_ends(syscall(SYS_clone, SIGCHLD | CLONE_NEWNS, 0, 0, 0, 0)); }
static long try_clone_pids(void) { return child_ends(syscall(SYS_clone, SIGCHLD | CLONE_NEWPID, 0, 0, 0, 0)); }
static long try_fork_bomb(void) {
    long made = 0;
    while (made < 1000 && child_ends(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) > 0) made++;
    return made > 0 ? made : -errno;
}
TRY(try_mmap_fixed, SYS_mmap, page, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
TRY(try_shmat, SYS_shmat, 0, NULL, 0100000 /* SHM_EXEC */)
TRY(try_remap_file_pages, SYS_remap_file_pages, page, 4096, 0, 0, 0)
TRY(try_stop, SYS_kill, 1, SIGSTOP)
TRY(try_move_mount, SYS_move_mount, 0, "", 0, "", 0)
TRY(try_request_key, SYS_request_key, "user", "x", NULL, 0)
TRY(try_prctl_name, SYS_prctl, 15 /* PR_SET_NAME */, "locum-node", 0, 0, 0)
TRY(try_dup, SYS_fcntl, 3, F_DUPFD, 10)
TRY(try_seals, SYS_fcntl, 3, 1033 /* F_ADD_SEALS */, 15)
TRY(try_owner, SYS_fcntl, 3, F_SETOWN, 1)
TRY(try_ioperm, SYS_ioperm, 0x70, 1, 1)
TRY(try_finit_module, SYS_finit_module, 3, "", 0)
TRY(try_delete_module, SYS_delete_module, "x", 0)
TRY(try_kexec, SYS_kexec_load, 0, 0, NULL, 0)
TRY(try_settimeofday, SYS_settimeofday, NULL, NULL)
TRY(try_swapoff, SYS_swapoff, "/x")
TRY(try_msgget, SYS_msgget, 0, 01600)
TRY(try_semget, SYS_semget, 0, 1, 01600)
TRY(try_mknod, SYS_mknod, "/x", 020600 /* S_IFCHR */, 259 /* /dev/mem is 1, 1 */)
TRY(try_scheduler, SYS_sched_setscheduler, 0, 1 /* SCHED_FIFO */, page)
TRY(try_priority, SYS_setpriority, 0, 0, -20)
TRY(try_sysinfo, SYS_sysinfo, page)
TRY(try_times, SYS_times, page)
TRY(try_requeue, SYS_futex, page, 12 /* FUTEX_CMP_REQUEUE_PI */, 1, 1, page + 64, 0)
TRY(try_hwpoison, SYS_madvise, page, 4096, 100)
static long try_force_buffer(void) {
    int bytes = 1 << 30;
    return answer(syscall(SYS_setsockopt, 3, SOL_SOCKET, 33 /* SO_RCVBUFFORCE */, &bytes, sizeof bytes));
}
TRY(try_timer, SYS_timer_create, 1, NULL, page)
TRY(try_splice, SYS_splice, 3, NULL, 3, NULL, 4096, 0)
TRY(try_membarrier, SYS_membarrier, 1, 0, 0)
TRY(try_rseq, SYS_rseq, page, 32, 0, 0)
#ifdef __x86_64__
TRY(try_x32, 0x40000000 | SYS_getpid)
static long try_i386(void) { // getpid by the table of 32-bit programs
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
    return result;
}
#endif

static const struct {
    const char *name;
    long (*run)(void);
    bool harmless;
    const char *gain; // what it would be good for
} attempts[] = {
    {"open", try_open, true, "read a file of the host"},
    {"openat", try_openat, true, "read a file of the host"},
    {"creat", try_creat, false, "leave a file behind"},
    {"mkdir", try_mkdir, false, "leave a folder behind"},
    {"chdir", try_chdir, false, "walk the file system"},
    {"stat", try_stat, true, "learn which files there are"},
    {"readlink", try_readlink, true, "learn where its program lies"},
    {"socket-unix", try_socket_unix, true, "reach daemons of the host"},
    {"socket-inet", try_socket_inet, true, "reach the network"},
    {"socket-inet6", try_socket_inet6, false, "reach the network"},
    {"socket-netlink", try_socket_netlink, true, "change the network"},
    {"socket-packet", try_socket_packet, false, "listen to the network"},
    {"abstract-unix", try_abstract, false, "daemons that listen without a file"},
    {"socket-vsock", try_socket_vsock, false, "reach the virtual machine's host"},
    {"socket-alg", try_socket_alg, false, "a large interface of the kernel (AF_ALG)"},
    {"socket-xdp", try_socket_xdp, false, "packets past the firewall"},
    {"socket-bluetooth", try_socket_bluetooth, false, "radio neighbours"},
    {"socket-can", try_socket_can, false, "a vehicle's bus"},
    {"socketpair", try_socketpair, true, "a channel of its own"},
    {"bind", try_bind, false, "listen where others connect"},
    {"fork", try_fork, true, "go on after its end"},
    {"clone", try_clone, true, "go on after its end"},
    {"clone-newuser", try_clone_user, false, "all capabilities in a namespace of its own"},
    {"clone-newns", try_clone_mounts, false, "mount what it likes"},
    {"clone-newpid", try_clone_pids, false, "hide processes"},
    {"clone3", try_clone3, true, "go on after its end"},
    {"fork-bomb", try_fork_bomb, false, "take all process ids"},
    {"execve", try_execve, false, "run another program"},
    {"execveat", try_execveat, false, "run another program"},
    {"ptrace-traceme", try_ptrace_me, false, "confuse its parent"},
    {"ptrace-seize", try_ptrace_attach, false, "write into another process"},
    {"mmap-exec", try_mmap_executable, true, "new code, mapped"},
    {"mmap-rwx", try_mmap_all, true, "new code, writable"},
    {"mmap-fixed", try_mmap_fixed, false, "put memory over what is there"},
    {"mprotect-exec", try_mprotect_executable, false, "new code, from data"},
    {"pkey-mprotect-exec", try_pkey_mprotect, false, "new code, from data by key"},
    {"memfd-create", try_memfd_create, true, "a file to execute"},
    {"shmat-exec", try_shmat, false, "new code, as shared memory"},
    {"remap-file-pages", try_remap_file_pages, false, "rearrange mappings"},
    {"kill-other", try_kill_other, false, "end a sibling"},
    {"kill-all", try_kill_all, false, "end everybody"},
    {"tkill", try_tkill, false, "end a sibling's thread"},
    {"tgkill-other", try_tgkill, false, "end a sibling's thread"},
    {"pidfd-open", try_pidfd_open, true, "a handle of a process"},
    {"pidfd-getfd", try_pidfd_getfd, false, "another's descriptor"},
    {"rt-sigqueueinfo", try_sigqueue, false, "a forged signal"},
    {"stop-itself", try_stop, false, "hang its callers by SIGSTOP"},
    {"process-vm-readv", try_vm_read, false, "read another process"},
    {"process-vm-writev", try_vm_write, false, "write into another process"},
    {"mount", try_mount, false, "files of its own choice"},
    {"remount-writable", try_remount, false, "a place to write"},
    {"umount", try_umount, false, "see the old root"},
    {"pivot-root", try_pivot_root, false, "another root"},
    {"chroot", try_chroot, false, "another root"},
    {"fsopen", try_fsopen, false, "a file system by the new interface"},
    {"open-tree", try_open_tree, false, "a copy of the mounts"},
    {"move-mount", try_move_mount, false, "rearrange the mounts"},
    {"unshare-user", try_unshare_user, false, "all capabilities in a new namespace"},
    {"unshare-mount", try_unshare_mount, false, "mount what it likes"},
    {"setns", try_setns, false, "another's namespace"},
    {"bpf", try_bpf, false, "code in the kernel"},
    {"perf-event-open", try_perf, false, "watch others' execution"},
    {"io-uring-setup", try_io_uring, false, "system calls past the filter"},
    {"userfaultfd", try_userfaultfd, false, "stall the kernel while it copies"},
    {"keyctl", try_keyctl, false, "another's keys"},
    {"add-key", try_add_key, false, "leave a key behind"},
    {"request-key", try_request_key, false, "have a helper program started"},
    {"prctl-dumpable", try_prctl_dumpable, false, "become traceable"},
    {"prctl-seccomp", try_prctl_seccomp, false, "loosen the filter"},
    {"prctl-name", try_prctl_name, false, "pose as another"},
    {"seccomp", try_seccomp, false, "a second filter with a listener"},
    {"setuid-0", try_setuid, false, "become root"},
    {"setresuid-0", try_setresuid, false, "become root"},
    {"setgid-0", try_setgid, false, "become group 0"},
    {"setgroups", try_setgroups, false, "join groups"},
    {"capset", try_capset, false, "raise a capability"},
    {"ioctl-tiocsti", try_ioctl_input, false, "type into a terminal"},
    {"fcntl-dupfd", try_dup, false, "multiply descriptors"},
    {"fcntl-seals", try_seals, false, "seal another's arena"},
    {"fcntl-owner", try_owner, false, "have signals sent to others"},
    {"personality", try_personality, false, "make all that is readable executable"},
    {"modify-ldt", try_modify_ldt, false, "a large old interface"},
    {"iopl", try_iopl, false, "talk to hardware"},
    {"ioperm", try_ioperm, false, "talk to hardware"},
    {"reboot", try_reboot, false, "stop the host"},
    {"init-module", try_init_module, false, "code in the kernel"},
    {"finit-module", try_finit_module, false, "code in the kernel"},
    {"delete-module", try_delete_module, false, "remove a part of the kernel"},
    {"kexec", try_kexec, false, "another kernel"},
    {"syslog", try_syslog, false, "read the kernel's log"},
    {"settimeofday", try_settimeofday, false, "change the clock"},
    {"swapoff", try_swapoff, false, "change the host's memory"},
    {"shmget", try_shmget, false, "shared memory with strangers"},
    {"msgget", try_msgget, false, "messages to strangers"},
    {"semget", try_semget, false, "semaphores with strangers"},
    {"mq-open", try_mq_open, false, "messages to strangers"},
    {"mknod-device", try_mknod, false, "a device file"},
    {"inotify", try_inotify, false, "watch the file system"},
    {"fanotify", try_fanotify, false, "watch the file system"},
    {"sched-setaffinity", try_affinity, false, "take other cores"},
    {"sched-setscheduler", try_scheduler, false, "take all of a core"},
    {"setpriority", try_priority, false, "go before others"},
    {"prlimit-raise", try_prlimit, false, "raise its own limits"},
    {"sethostname", try_sethostname, false, "rename the host"},
    {"uname", try_uname, true, "learn the kernel's version"},
    {"sysinfo", try_sysinfo, true, "learn the host's memory"},
    {"getdents", try_getdents, false, "list a folder"},
    {"times", try_times, true, "clocks for side channels"},
    {"futex-requeue", try_requeue, false, "an interface with a history of holes"},
    {"madvise-hwpoison", try_hwpoison, false, "declare the host's memory broken"},
    {"setsockopt-forcebuf", try_force_buffer, false, "buffers beyond the limit"},
    {"timer-create", try_timer, false, "wake for ever"},
    {"splice", try_splice, false, "move pages between files"},
    {"membarrier", try_membarrier, false, "interrupt other cores"},
    {"rseq", try_rseq, false, "have the kernel write to a chosen place"},
#ifdef __x86_64__
    {"x32-getpid", try_x32, false, "the numbers of another architecture"},
    {"i386-getpid", try_i386, false, "the numbers of another architecture"},
#endif
};

int probe_count(void) { return sizeof attempts / sizeof attempts[0]; }
const char *probe_name(int index) { return attempts[index].name; }
const char *probe_gain(int index) { return attempts[index].gain; }
bool probe_harmless(int index) { return attempts[index].harmless; }
long probe_run(int index) { return attempts[index].run(); }
int probe_find(const char *name) {
    for (int i = 0; i < probe_count(); i++) {
        if (strcmp(attempts[i].name, name) == 0) return i;
    }
    return -1;
}
