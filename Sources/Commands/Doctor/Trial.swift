// What the kernel allows is found out by doing it, in a child of its own so that nothing of it stays: versions and
// settings say what should work, a container's filter or a security module may say otherwise.
import CLinux
import Glibc

/// Something tried in a child.
enum Trial {
    /// - Parameters:
    ///   - namespaces: LOCUM_NEW_… that the child gets.
    ///   - body: runs in the child; only system calls. Answers 0 or an errno.
    /// - Returns: why it failed; nil when it did not.
    static func failure(_ namespaces: UInt64, _ body: () -> Int32 = { 0 }) -> String? {
        let pid = locum_clone3(namespaces, nil)
        if pid == 0 { _exit(body()) }
        guard pid > 0 else { return reason(errno) }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        if status & 0x7f != 0 { return "the kernel ended it by signal \(status & 0x7f)" }
        let code = status >> 8 & 0xff
        return code == 0 ? nil : reason(code)
    }

    static func reason(_ number: Int32) -> String { String(cString: strerror(number)) }
}
