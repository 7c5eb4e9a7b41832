// The one error of the generator. Whoever reads it gave a wrong number or has a full disk: the message names the
// value or the file, why it cannot be, and what to do.

/// Why a test model could not be made.
public struct TestModelError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// A shape, dial or format that cannot be.
        case badArguments = "bad_arguments"
        /// OUT is there and is no ordinary file.
        case notAFile = "not_a_file"
        case diskFull = "disk_full"
        case writeFailed = "write_failed"
        case interrupted = "interrupted"
    }

    public let code: Code
    public let message: String
    public var description: String { message }

    init(_ code: Code, _ message: String) { (self.code, self.message) = (code, message) }

    static func interrupted(_ path: String) -> TestModelError {
        TestModelError(.interrupted, "\(path): interrupted; nothing was left behind")
    }
}
