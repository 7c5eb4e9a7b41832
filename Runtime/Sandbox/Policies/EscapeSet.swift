// What kills. Each of these would be refused anyway (no capability, empty root, no network); a process that
// tries has been taken over, and ends before it tries a second thing. Not here, so ENOSYS: clone3 (libc asks
// for it first and then takes clone, which does kill), tgkill (how abort() raises; PID 1 of a namespace
// then dies by its trap instruction), and what libc probes by itself: prctl, ioctl, uname, sysinfo.
extension SeccompPolicy {
    /// PROT_EXEC of mmap and mprotect.
    static let executable: UInt64 = 4

    static let escapes: [Rule] =
        [
            Rule(
                call: "mmap", action: .kill, conditions: [.with(2, bits: executable)],
                reason: "new code: kernels are compiled ahead, nothing is generated"),
            Rule(
                call: "mprotect", action: .kill, conditions: [.with(2, bits: executable)],
                reason: "new code, by way of data"),
            Rule(
                call: "pkey_mprotect", action: .kill, conditions: [.with(2, bits: executable)],
                reason: "new code, by way of data"),
        ]
        + kill("execve", "execveat", because: "another program")
        + kill("fork", "vfork", "clone", because: "another process; threads all exist before the filter")
        + kill(
            "open", "openat", "openat2", "creat", "open_by_handle_at", "name_to_handle_at",
            because: "files: everything comes as a descriptor")
        + kill(
            "link", "linkat", "symlink", "symlinkat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir",
            "mkdirat", "rmdir", "mknod", "mknodat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "truncate",
            because: "names in a file system: there are none")
        + kill("chdir", "fchdir", "chroot", "pivot_root", because: "another root folder")
        + kill(
            "mount", "umount2", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
            because: "another file system")
        + kill(
            "socket", "socketpair", "bind", "listen", "connect", "accept", "accept4",
            because: "network and other channels than those given")
        + kill(
            "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp",
            "pidfd_getfd", "pidfd_open", because: "another process's memory or descriptors")
        + kill(
            "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal",
            because: "another process's life")
        + kill("unshare", "setns", because: "other namespaces, and in a new one all capabilities")
        + kill(
            "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups",
            "capset", because: "other rights")
        + kill("bpf", "perf_event_open", "userfaultfd", because: "large interfaces of the kernel, often exploited")
        + kill("io_uring_setup", "io_uring_enter", "io_uring_register", because: "system calls past this filter")
        + kill("add_key", "request_key", "keyctl", because: "keys are not divided by namespaces of ours")
        + kill(
            "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon",
            "swapoff", "acct", "quotactl", "syslog", "iopl", "ioperm", "modify_ldt", "settimeofday", "clock_settime",
            "adjtimex", "clock_adjtime", "sethostname", "setdomainname", because: "the host itself")
        + kill("memfd_create", "memfd_secret", because: "files to execute without a file system")
        + kill("seccomp", because: "it is loaded; another one could only be a trick with its listener")
}
