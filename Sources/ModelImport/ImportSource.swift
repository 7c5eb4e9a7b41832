// The model's files come as open descriptors with names: the import process can open nothing. All reading
// is `pread` at explicit offsets, so nothing of a file stays in memory but what is being converted.
import Glibc

/// A file of the model to import.
public struct ImportSource: Sendable {
    /// Its name within its folder, for example `config.json`.
    public let name: String
    /// An open, readable descriptor, which stays the caller's.
    public let descriptor: Int32

    public init(name: String, descriptor: Int32) {
        self.name = name
        self.descriptor = descriptor
    }
}

/// A source file whose size is known.
final class SourceFile {
    let name: String
    let size: Int
    private let descriptor: Int32

    /// - Throws: `ImportError` when the descriptor is not an ordinary file.
    init(_ source: ImportSource) throws(ImportError) {
        name = source.name
        descriptor = source.descriptor
        var status = stat()
        guard fstat(source.descriptor, &status) == 0 else {
            throw ImportError(.readFailed, "\(source.name): cannot be examined: \(String(cString: strerror(errno)))")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw ImportError(
                .readFailed, "\(source.name): not an ordinary file; name a model's folder or a .gguf file")
        }
        size = Int(status.st_size)
    }

    /// Fills `buffer` from `offset`.
    /// - Parameter what: whose bytes these are, for the message.
    func read(at offset: Int, into buffer: UnsafeMutableRawBufferPointer, what: String) throws(ImportError) {
        var done = 0
        while done < buffer.count {
            let got = pread(
                descriptor, buffer.baseAddress?.advanced(by: done), buffer.count - done, off_t(offset + done))
            if got < 0 {
                if errno == EINTR { continue }
                throw ImportError(
                    .readFailed,
                    "\(name): reading \(what) at byte \(offset + done) failed: \(String(cString: strerror(errno)))")
            }
            if got == 0 {
                throw ImportError(
                    .truncated,
                    "\(name): \(what) needs bytes \(offset) to \(offset + buffer.count), the file ends at byte "
                        + "\(offset + done); copy or download it again")
            }
            done += got
        }
    }

    /// `count` bytes from `offset`.
    func bytes(at offset: Int, count: Int, what: String) throws(ImportError) -> [UInt8] {
        var failure: ImportError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(ImportError) {
                try read(at: offset, into: UnsafeMutableRawBufferPointer(buffer), what: what)
                filled = count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// The whole file, which must not be longer than `most` bytes.
    func contents(most: Int) throws(ImportError) -> [UInt8] {
        guard size <= most else {
            throw ImportError(.tooLarge, "\(name): \(size) bytes, at most \(most) make sense for this file")
        }
        return try bytes(at: 0, count: size, what: "the file")
    }
}
