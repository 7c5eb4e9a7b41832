// An import: reads what the person's files hold, writes shards. Files are descriptors that came over the
// channel; it maps nothing executable and knows no path.
extension SeccompPolicy {
    /// Calls of `locum-import`.
    public static let importer = SeccompPolicy(
        name: "import",
        allowing: [
            allow("recvmsg", because: "the channel to node, descriptors of files"),
            allow("sendmsg", because: "the channel to node"),
            allow("pread64", because: "the model's files"),
            allow("read", because: "the model's files"),
            allow("pwrite64", because: "shards"),
            allow("write", because: "shards"),
            allow("lseek", because: "length of a file"),
            allow("fstat", because: "length of a file"),
            allow("newfstatat", because: "fstat, as libc does it; in an empty root there is no other file"),
            allow("statx", because: "the same"),
            allow("ftruncate", because: "a shard has its full length from the start"),
            allow("fallocate", because: "a full disk shows at once"),
            allow("fsync", because: "a shard is on disk before it is named"),
            allow("fdatasync", because: "the same"),
            allow("fadvise64", because: "read ahead, and let go of what was read for good"),
            allow("close", because: "each file when it is done"),
            allow("fcntl", .equal(1, 3), because: "F_GETFL: whether a descriptor may be read or written"),
            allow("fcntl", .equal(1, 4), because: "F_SETFL: O_NONBLOCK"),
            allow("mmap", .without(2, bits: executable), because: "large buffers, malloc"),
            allow("munmap", because: "malloc"),
            allow("mremap", because: "realloc of large blocks; it keeps the protection"),
            allow("mprotect", .without(2, bits: executable), because: "malloc grows an arena"),
            allow("madvise", because: "buffers given back between tensors"),
            allow("brk", because: "malloc"),
            allow("futex", because: "locks of the runtime"),
            allow("clock_gettime", because: "where the vDSO has no clock, it falls back to the call"),
            allow("getrandom", because: "Swift seeds its hashing at the first dictionary"),
            allow("restart_syscall", because: "the kernel itself resumes an interrupted wait by it"),
            allow("rt_sigreturn", because: "the kernel itself, after a handler"),
            allow("rt_sigprocmask", because: "libc at the end"),
            allow("exit", because: "the end"),
            allow("exit_group", because: "the end"),
        ])
}
