// What each worker does between being forked by the zygote and starting its threads. Namespaces were made by
// the clone3 that made it; root folder, network, limits and bounding set are inherited from the zygote.
import CLinux
import Glibc
public import Syscall

extension Sandbox {
    /// Namespaces for the clone3 of a worker. Network is left out: a new one takes 0.5 ms, and the zygote's is
    /// empty and unusable for anyone in it.
    public static let workerNamespaces = LOCUM_NEW_PIDS | LOCUM_NEW_MOUNTS | LOCUM_NEW_IPC | LOCUM_NEW_UTS

    /// Gives up everything but `descriptors`. The caller has one thread; those it starts afterwards inherit all
    /// of it. `SeccompFilter.load` is the last step, when they stand.
    /// - Parameters:
    ///   - uid: uid and gid of its own; 0 keeps the one id of the zygote's user namespace.
    ///   - mostPrivate: bytes of heap, stacks and other private memory; beyond it an allocation fails and the worker ends.
    ///   - descriptors: those to keep, ascending.
    /// - Throws: `SyscallError` that names the step, EPERM when the worker would run as root; the process must
    ///   then end.
    public static func enterWorker(
        uid: UInt32, mostPrivate: UInt64, keeping descriptors: [Int32], landlock: Landlock?
    ) throws(SyscallError) {
        // Not a session of its own: the zygote's has no terminal already, and the scheduler would make each
        // session a group that competes with the person's own one as an equal, 1,440 times.
        try check(setpgid(0, 0), "start a process group")
        // The zygote blocks SIGCHLD to read it from a descriptor; it handles none.
        try check(locum_unblock_signals(), "unblock the signals")
        try check(locum_lower_limit(LOCUM_LIMIT_DATA, mostPrivate), "limit private memory")
        if uid != 0 { try check(locum_become(uid, uid), "become user \(uid)") }
        guard geteuid() != 0, getuid() != 0 else {
            throw SyscallError(stage: "start a worker as root: it needs a uid of its own", errno: EPERM)
        }
        try check(locum_set_parent_death_signal(SIGKILL), "set the parent-death signal")
        try setCapabilities([])
        try check(locum_set_no_new_privileges(), "set no_new_privs")
        try landlock?.restrict()
        try check(locum_close_all_but(descriptors, Int32(descriptors.count)), "close descriptors")
    }
}
