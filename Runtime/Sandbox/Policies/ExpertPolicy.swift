// An expert: receives doorbells, computes, answers. No time, no randomness, no writing but to its sockets.
extension SeccompPolicy {
    /// Calls of an expert function's worker.
    public static let expert = SeccompPolicy(name: "expert", allowing: serving)

    /// What both kinds of worker do.
    static let serving: [Rule] = [
        allow("epoll_wait", because: "each lane waits for its callers and the control channel"),
        allow("epoll_pwait", because: "the same, where libc has only this one (arm64)"),
        allow("epoll_ctl", because: "a new caller's sockets join the lanes' sets, a gone one's leave"),
        allow("recvfrom", because: "doorbells on a lane"),
        allow("recvmsg", because: "the channel to node, descriptors of new links"),
        allow("sendmsg", because: "answers on a lane, the channel to node"),
        allow("close", because: "arena descriptors once mapped, sockets of callers that left"),
        allow("futex", because: "lanes and compute threads wait for each other"),
        allow("mmap", .without(2, bits: executable), because: "arenas of new links, malloc"),
        allow("munmap", because: "arenas of links that ended, malloc"),
        allow("mremap", because: "realloc of large blocks; it keeps the protection"),
        allow("madvise", because: "pages that a large batch touched are given back"),
        allow("brk", because: "malloc"),
        allow("clock_gettime", because: "where the vDSO has no clock, it falls back to the call"),
        allow("sched_yield", because: "bounded spinning before a futex"),
        allow("getrandom", because: "Swift seeds its hashing at the first dictionary"),
        allow("fcntl", .equal(1, 3), because: "F_GETFL, to change O_NONBLOCK"),
        allow("fcntl", .equal(1, 4), because: "F_SETFL: O_NONBLOCK of a caller's socket"),
        allow("restart_syscall", because: "the kernel itself resumes an interrupted wait by it"),
        allow("rt_sigreturn", because: "the kernel itself, after a handler"),
        allow("rt_sigprocmask", because: "libc at the end of a thread"),
        allow("exit", because: "a lane ends"),
        allow("exit_group", because: "the worker ends after draining"),
    ]
}
