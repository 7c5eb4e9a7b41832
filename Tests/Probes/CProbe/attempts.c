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
} attempts[] = {
    {"open", try_open, true},
    {"openat", try_openat, true},
    {"creat", try_creat, false},
    {"mkdir", try_mkdir, false},
    {"chdir", try_chdir, false},
    {"stat", try_stat, true},
    {"readlink", try_readlink, true},
    {"socket-unix", try_socket_unix, true},
    {"socket-inet", try_socket_inet, true},
    {"socket-netlink", try_socket_netlink, true},
    {"socket-packet", try_socket_packet, false},
    {"socketpair", try_socketpair, true},
    {"fork", try_fork, true},
    {"clone", try_clone, true},
    {"clone-newuser", try_clone_user, false},
    {"clone3", try_clone3, true},
    {"execve", try_execve, false},
    {"execveat", try_execveat, false},
    {"ptrace-traceme", try_ptrace_me, false},
    {"ptrace-seize", try_ptrace_attach, false},
    {"mmap-exec", try_mmap_executable, true},
    {"mmap-rwx", try_mmap_all, true},
    {"mprotect-exec", try_mprotect_executable, false},
    {"pkey-mprotect-exec", try_pkey_mprotect, false},
    {"memfd-create", try_memfd_create, true},
    {"kill-other", try_kill_other, false},
    {"kill-all", try_kill_all, false},
    {"tkill", try_tkill, false},
    {"tgkill-other", try_tgkill, false},
    {"pidfd-open", try_pidfd_open, true},
    {"pidfd-getfd", try_pidfd_getfd, false},
    {"rt-sigqueueinfo", try_sigqueue, false},
    {"process-vm-readv", try_vm_read, false},
    {"process-vm-writev", try_vm_write, false},
    {"mount", try_mount, false},
    {"remount-writable", try_remount, false},
    {"umount", try_umount, false},
    {"pivot-root", try_pivot_root, false},
    {"chroot", try_chroot, false},
    {"fsopen", try_fsopen, false},
    {"open-tree", try_open_tree, false},
    {"unshare-user", try_unshare_user, false},
    {"unshare-mount", try_unshare_mount, false},
    {"setns", try_setns, false},
    {"bpf", try_bpf, false},
    {"perf-event-open", try_perf, false},
    {"io-uring-setup", try_io_uring, false},
    {"userfaultfd", try_userfaultfd, false},
    {"keyctl", try_keyctl, false},
    {"add-key", try_add_key, false},
    {"prctl-dumpable", try_prctl_dumpable, false},
    {"prctl-seccomp", try_prctl_seccomp, false},
    {"seccomp", try_seccomp, false},
    {"setuid-0", try_setuid, false},
    {"setresuid-0", try_setresuid, false},
    {"setgid-0", try_setgid, false},
    {"setgroups", try_setgroups, false},
    {"capset", try_capset, false},
    {"ioctl-tiocsti", try_ioctl_input, false},
    {"personality", try_personality, false},
    {"modify-ldt", try_modify_ldt, false},
    {"iopl", try_iopl, false},
    {"reboot", try_reboot, false},
    {"init-module", try_init_module, false},
    {"syslog", try_syslog, false},
    {"shmget", try_shmget, false},
    {"mq-open", try_mq_open, false},
    {"inotify", try_inotify, false},
    {"fanotify", try_fanotify, false},
    {"sched-setaffinity", try_affinity, false},
    {"prlimit-raise", try_prlimit, false},
    {"sethostname", try_sethostname, false},
    {"uname", try_uname, true},
    {"getdents", try_getdents, false},
#ifdef __x86_64__
    {"x32-getpid", try_x32, false},
    {"i386-getpid", try_i386, false},
#endif
};

int probe_count(void) { return sizeof attempts / sizeof attempts[0]; }
const char *probe_name(int index) { return attempts[index].name; }
bool probe_harmless(int index) { return attempts[index].harmless; }
long probe_run(int index) { return attempts[index].run(); }
int probe_find(const char *name) {
    for (int i = 0; i < probe_count(); i++) {
        if (strcmp(attempts[i].name, name) == 0) return i;
    }
    return -1;
}
