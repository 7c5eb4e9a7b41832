// Hashing a file in slices. The node is one thread that serves everybody: it hashes a few MiB, looks at
// its sockets, and goes on. The bytes are read, not mapped: a file that is cut short under a mapping
// raises SIGBUS, a short read is an error like any other.
import Crypto
import Glibc
public import Syscall

/// A SHA-256 under way over an open file.
public final class ShardHashing {
    /// Bytes read by one `step`: some milliseconds of work.
    public static let slice = 2 << 20
    /// What one read takes: small enough to stay in the second-level cache between read and hash.
    private static let block = 256 << 10

    private let file: Descriptor
    private let length: UInt64
    private var done: UInt64 = 0
    private var hash = SHA256()

    /// - Parameter length: bytes that the file must have; fewer are an error, more are noticed too.
    public init(_ file: Descriptor, length: UInt64) { (self.file, self.length) = (file, length) }

    /// Hashes the next slice. The digest when the file is through, nil while there is more.
    /// - Throws: `ShardStoreError` when it cannot be read or does not have the length.
    public func step() throws(ShardStoreError) -> ShardDigest? {
        var failure: Int32 = 0
        var read = 0
        withUnsafeTemporaryAllocation(byteCount: Self.block, alignment: 4096) { buffer in
            while read < Self.slice && done < length {
                let want = Int(min(UInt64(Self.block), length - done))
                let got = pread(file.raw, buffer.baseAddress, want, off_t(done))
                if got < 0 && errno == EINTR { continue }
                if got <= 0 {
                    failure = got < 0 ? errno : EPIPE
                    return
                }
                hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<got]))
                done += UInt64(got)
                read += got
            }
        }
        if failure == EPIPE {
            throw ShardStoreError(code: "digest_mismatch", message: "it ends after \(done) of \(length) bytes")
        }
        if failure != 0 { throw ShardStoreError(SyscallError(stage: "read at byte \(done)", errno: failure)) }
        guard done == length else { return nil }
        var info = stat()
        try stored(fstat(file.raw, &info), "read the file's length")
        guard UInt64(info.st_size) == length else {
            throw ShardStoreError(code: "digest_mismatch", message: "it has \(info.st_size) bytes instead of \(length)")
        }
        return ShardDigest(hash.finalize())
    }
}
