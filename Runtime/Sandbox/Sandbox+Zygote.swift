// The zygote's own walls, put up once: what can be inherited is not paid for again with each worker.
import CCap
import CLinux
import Glibc
public import Syscall

extension Sandbox {
    /// Where the zygote stands after `enterZygote`.
    public struct ZygoteGround: Sendable {
        /// For `enterWorker`; nil where the kernel has none.
        public let landlock: Landlock?
        /// What is in force for every worker: name and state, for `locum status`.
        public let features: [(name: String, state: String)]
    }

    /// Closes the calling process, started by `IsolatedProcess`, into an empty root with no more privileges
    /// than forking workers takes.
    /// - Parameter descriptors: those to keep, ascending.
    /// - Throws: `SyscallError` that names the step; the process must then end.
    public static func enterZygote(keeping descriptors: [Int32]) throws(SyscallError) -> ZygoteGround {
        try assertOneThread()
        let asRoot = geteuid() == 0
        // Set before exec already; exec by a privileged file would have cleared it.
        try check(locum_set_parent_death_signal(SIGKILL), "set the parent-death signal")
        // For the workers, while a limit may still be raised: sockets of many links; no file to write (there is
        // none), no memory left behind in a core file, no message queue.
        try check(locum_raise_file_limit(), "raise the limit of open files")
        try check(locum_lower_limit(LOCUM_LIMIT_FILES, workerFiles), "limit open files")
        try check(locum_lower_limit(LOCUM_LIMIT_FILE_SIZE, 0), "limit file sizes")
        try check(locum_lower_limit(LOCUM_LIMIT_CORE, 0), "limit core files")
        try check(locum_lower_limit(LOCUM_LIMIT_QUEUES, 0), "limit message queues")
        try check(locum_close_all_but(descriptors, Int32(descriptors.count)), "close descriptors")
        try forgetHostName()
        try emptyRoot()
        // CAP_SYS_ADMIN makes the namespaces of workers; as root their uids are set, too.
        try keepCapabilities(asRoot ? [CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID] : [CAP_SYS_ADMIN])
        let (cores, speculation) = SideChannels.narrow()
        try check(locum_set_no_new_privileges(), "set no_new_privs")
        guard locum_seccomp_can_kill_process() else {
            throw SyscallError(stage: "find seccomp with KILL_PROCESS in this kernel (4.14 or later)", errno: ENOSYS)
        }
        var absence = ""
        let landlock = try Landlock.probe(absence: &absence)
        return ZygoteGround(
            landlock: landlock,
            features: [
                ("identity", asRoot ? "a uid of its own per worker" : "user namespace with one id"),
                ("namespaces", "pid, mount, network, ipc, uts" + (asRoot ? "" : ", user")),
                ("root_folder", "empty, read-only"),
                ("capabilities", "none"),
                ("no_new_privs", "set"),
                ("seccomp", "allow-list, all threads (TSYNC)"),
                ("landlock", landlock.map { "version \($0.version)" } ?? absence),
                ("cores", cores),
                ("speculation", speculation),
            ])
    }
}
