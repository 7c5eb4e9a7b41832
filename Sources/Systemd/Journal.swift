// Log entries with fields (sd_journal_sendv(3)), so that `journalctl LOCUM_FUNCTION=tales/L00-E003` finds them. Only
// where standard error is the journal itself: a terminal, a file or a test gets lines of text.
import CSystemd
import Glibc

public enum Journal {
    /// As in syslog(3).
    public enum Priority: Int, Sendable {
        case error = 3
        case warning = 4
        case notice = 5
        case info = 6
        case debug = 7
    }

    /// Standard error is the journal: JOURNAL_STREAM names its device and inode.
    public static let isStandardError: Bool = {
        guard let stream = getenv("JOURNAL_STREAM") else { return false }
        var information = stat()
        guard fstat(STDERR_FILENO, &information) == 0 else { return false }
        return String(cString: stream) == "\(information.st_dev):\(information.st_ino)"
    }()

    /// Standard error is a terminal (or another device of characters).
    public static let isTerminal: Bool = {
        var information = stat()
        return fstat(STDERR_FILENO, &information) == 0 && information.st_mode & S_IFMT == S_IFCHR
    }()

    /// Sends one entry.
    /// - Parameters:
    ///   - program: its SYSLOG_IDENTIFIER.
    ///   - fields: beside the message; a name is made of A to Z, 0 to 9 and _, and begins with a letter.
    /// - Returns: false when the journal did not take it.
    @discardableResult
    public static func send(
        _ message: String, _ priority: Priority, program: String, fields: [(name: String, value: String)] = []
    ) -> Bool {
        let first = [
            (name: "MESSAGE", value: message), (name: "PRIORITY", value: "\(priority.rawValue)"),
            (name: "SYSLOG_IDENTIFIER", value: program),
        ]
        let entries = (first + fields).map { Array("\($0.name)=\($0.value)".utf8) }
        var bytes = entries.flatMap { $0 }
        return bytes.withUnsafeMutableBytes { bytes in
            var at = 0
            let parts = entries.map { entry in
                defer { at += entry.count }
                return iovec(iov_base: bytes.baseAddress.map { $0 + at }, iov_len: entry.count)
            }
            return sd_journal_sendv(parts, Int32(parts.count)) == 0
        }
    }
}
