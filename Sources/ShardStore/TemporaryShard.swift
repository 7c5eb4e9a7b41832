// A shard being written. Its writer is the sandboxed import, so nothing it says is believed: node makes the
// file, reserves its space, and takes it into the store only under the digest that node itself computed
// while nobody could write any more.
import Glibc
public import Syscall

/// A file in the temporary folder, removed unless it is committed.
public final class TemporaryShard {
    private enum State {
        case writing
        case sealed
        case committed
        case removed
    }

    /// Bytes that it was announced with.
    public let length: UInt64
    let path: String
    private var state = State.writing
    /// For the writer; let go of by `seal`.
    public private(set) var writable: Descriptor?
    private let readable: Descriptor

    init(path: String, length: UInt64, writable: Descriptor, readable: Descriptor) {
        (self.path, self.length, self.writable, self.readable) = (path, length, writable, readable)
    }

    deinit { remove() }

    /// Gives up the writable descriptor after its duplicate went to the writer.
    public func handOver() { writable = nil }

    /// Whether its writer went beyond the length that was announced.
    public var hasGrown: Bool {
        var info = stat()
        return fstat(readable.raw, &info) == 0 && UInt64(info.st_size) > length
    }

    /// Ends writing and begins hashing.
    ///
    /// The kernel grants a read lease only when no descriptor anywhere is open for writing: so what is hashed
    /// is what stays. Where a file system has no leases this goes unchecked.
    /// - Throws: `ShardStoreError` `still_open` when the writer kept its descriptor.
    public func seal() throws(ShardStoreError) -> ShardHashing {
        guard case .writing = state else {
            throw ShardStoreError(code: "store_failed", message: "\(path) was finished before")
        }
        writable = nil
        try stored(fchmod(readable.raw, 0o400), "make \(path) read-only")
        if !lease(F_RDLCK) {
            if errno == EAGAIN {
                throw ShardStoreError(
                    code: "still_open", message: "\(path) is still open for writing: close a shard before finishing it")
            }
        } else {
            _ = lease(F_UNLCK)
        }
        state = .sealed
        return ShardHashing(readable, length: length)
    }

    /// Makes the bytes last.
    func settle() throws(ShardStoreError) { try stored(fsync(readable.raw), "write \(path) to disk") }

    /// Makes the bytes last and moves the file to `target`.
    func commit(to target: String) throws(ShardStoreError) {
        guard case .sealed = state else {
            throw ShardStoreError(code: "store_failed", message: "\(path) is not finished yet")
        }
        try settle()
        try stored(rename(path, target), "move \(path) into the store")
        state = .committed
        // A shard is warm when a worker uses it, not because it was just written. The pages are clean now.
        posix_fadvise(readable.raw, 0, 0, POSIX_FADV_DONTNEED)
    }

    /// Removes the file; nothing once it is committed.
    public func remove() {
        switch state {
        case .writing, .sealed:
            unlink(path)
            state = .removed
        case .committed, .removed: return
        }
    }

    /// A process that was just forked for another program holds every descriptor until its exec: a few tries.
    private func lease(_ kind: Int32) -> Bool {
        let setLease: Int32 = 1024  // F_SETLEASE, behind _GNU_SOURCE in the headers
        for _ in 0..<50 {
            if fcntl(readable.raw, setLease, kind) >= 0 { return true }
            guard errno == EAGAIN else { return false }
            usleep(1000)
        }
        errno = EAGAIN
        return false
    }
}
