// One shard's bytes on their way: hashed, and written when there is a file for them. Without a file this is
// how a deployment finds out that it has the shard already.
import Crypto
import Glibc

final class ShardOutput {
    /// Bytes so far.
    private(set) var count = 0
    private var hash = SHA256()
    private let descriptor: Int32?
    private let buffer: UnsafeMutableRawBufferPointer
    private var filled = 0
    private let progress: (Int) -> Void

    private static let bufferBytes = 1 << 20

    /// - Parameters:
    ///   - descriptor: where to write; nil only hashes.
    ///   - progress: told how many bytes went out, now and then.
    init(descriptor: Int32?, progress: @escaping (Int) -> Void) {
        self.descriptor = descriptor
        self.progress = progress
        buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferBytes, alignment: 64)
    }

    deinit { buffer.deallocate() }

    func append(_ bytes: UnsafeRawBufferPointer) throws(ImportError) {
        var rest = bytes
        while !rest.isEmpty {
            let part = min(rest.count, buffer.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + part])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: rest[..<part]))
            filled += part
            count += part
            rest = UnsafeRawBufferPointer(rebasing: rest[part...])
            if filled == buffer.count { try flush() }
        }
    }

    func append(_ bytes: [UInt8]) throws(ImportError) {
        var failure: ImportError?
        bytes.withUnsafeBytes { raw in
            do throws(ImportError) { try append(raw) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Zero bytes until `end` stand in all.
    func pad(to end: Int) throws(ImportError) {
        let zeros = [UInt8](repeating: 0, count: 4096)
        while count < end { try append(Array(zeros[..<min(zeros.count, end - count)])) }
    }

    /// Writes what is left.
    /// - Returns: SHA-256 of all bytes.
    func finish() throws(ImportError) -> [UInt8] {
        try flush()
        return Array(hash.finalize())
    }

    private func flush() throws(ImportError) {
        let pending = UnsafeRawBufferPointer(rebasing: buffer[..<filled])
        hash.update(bufferPointer: pending)
        if let descriptor {
            var done = 0
            while done < pending.count {
                let wrote = write(descriptor, pending.baseAddress?.advanced(by: done), pending.count - done)
                if wrote < 0 {
                    let number = errno
                    if number == EINTR { continue }
                    let reason = String(cString: strerror(number))
                    guard number == ENOSPC || number == EDQUOT else {
                        throw ImportError(.writeFailed, "writing a shard failed: \(reason); check the data folder")
                    }
                    throw ImportError(
                        .noSpace, "writing a shard failed: \(reason); free some space where the data folder lies")
                }
                done += wrote
            }
        }
        progress(filled)
        filled = 0
    }
}
