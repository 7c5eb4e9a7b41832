// The file being made: a temporary name beside the wanted one, its whole space taken at once so that a full disk
// is known before the first byte, renamed when all is on the disk. Whatever goes wrong before, it goes away.
import Glibc

/// A file that appears under its name only when it is whole.
final class OutputFile: @unchecked Sendable {
    private enum State {
        case writing
        case committed
        case removed
    }

    private let path: String
    private let temporary: String
    private let descriptor: Int32
    private var state = State.writing

    /// - Parameter isCancelled: asked when a signal comes while the space is taken, which can last.
    /// - Throws: `TestModelError` when `path` is there and no ordinary file, or `bytes` do not fit.
    init(path: String, bytes: Int, isCancelled: () -> Bool) throws(TestModelError) {
        var status = stat()
        if lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            throw TestModelError(.notAFile, "\(path) is there and no ordinary file; give another name")
        }
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        let name = path[slash...]
        guard !name.isEmpty else { throw TestModelError(.notAFile, "\(path) names a folder; give a file's name") }
        // A long name must not get too long by what is added.
        temporary = "\(path[..<slash]).\(name.prefix(60)).\(getpid()).part"
        self.path = path
        unlink(temporary)
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.failure("make \(temporary)", errno) }
        var result = EINTR
        while result == EINTR, !isCancelled() { result = posix_fallocate(descriptor, 0, off_t(bytes)) }
        guard result == 0 else {
            remove()
            throw result == EINTR
                ? .interrupted(path) : Self.failure("take \(bytes) bytes for \(path)", result)
        }
    }

    deinit {
        remove()
        if descriptor >= 0 { close(descriptor) }
    }

    private static func failure(_ what: String, _ number: Int32) -> TestModelError {
        let reason = String(cString: strerror(number))
        switch number {
        case ENOSPC, EDQUOT, EFBIG:
            return TestModelError(
                .diskFull, "\(what): \(reason); nothing was left behind, make room or shrink the model")
        default: return TestModelError(.writeFailed, "\(what): \(reason); nothing was left behind")
        }
    }

    /// Writes all of `bytes` at `offset`. Any thread may.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(TestModelError) {
        var done = 0
        while done < bytes.count {
            let n = pwrite(
                descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done, off_t(offset + done))
            if n < 0 {
                if errno == EINTR { continue }
                throw Self.failure("write \(path)", errno)
            }
            done += n
        }
    }

    /// Brings the bytes to the disk and gives the file its name.
    func commit() throws(TestModelError) {
        guard fsync(descriptor) == 0 else { throw Self.failure("write \(path) to the disk", errno) }
        guard rename(temporary, path) == 0 else { throw Self.failure("rename \(temporary) to \(path)", errno) }
        state = .committed
    }

    /// Removes the file unless it was committed.
    func remove() {
        guard case .writing = state else { return }
        unlink(temporary)
        state = .removed
    }
}
