// The empty root folder and the host name: what could be seen of the host without any descriptor.
import CLinux
import Glibc
import Syscall

extension Sandbox {
    /// Replaces the root folder of this process's mount namespace by an empty, read-only one, for good.
    /// - Throws: `SyscallError` that names the step; the process must then end.
    static func emptyRoot() throws(SyscallError) {
        var stage: UnsafePointer<CChar>?
        let result = locum_empty_root(&stage)
        try check(result, "empty the root folder: \(stage.map { String(cString: $0) } ?? "")")
    }

    /// The namespace is a copy: without this, workers would know the host by name.
    static func forgetHostName() throws(SyscallError) {
        try check(locum_set_hostname("locum"), "set the host name")
    }

    /// - Throws: `SyscallError` (EBUSY) when there are other threads: they would keep what this one gives up,
    ///   and what is forked off would lack them while their locks stay taken.
    static func assertOneThread() throws(SyscallError) {
        let threads = try check(locum_thread_count(), "count the threads in /proc/self/task")
        guard threads == 1 else {
            throw SyscallError(stage: "enter the sandbox with \(threads) threads instead of one", errno: EBUSY)
        }
    }
}
