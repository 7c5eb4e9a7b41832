// What a backup says was used: found behind the shards, held against the digest in its name, then read line by line.
import Crypto
import FoundationEssentials
import FunctionModel
import Glibc
import Syscall

/// The last part of a backup.
struct BackupUsage {
    private static let block = 1 << 20
    /// Of one line.
    private static let longest = 4096
    private static let mostParts = 1 << 20
    let file: String
    let descriptor: Descriptor
    private let place: Range<Int>

    /// nil: nothing was used, or it is a backup of before that was in it.
    /// - Throws: `BackupWriter.Failure` when it is damaged.
    init?(of file: String, _ descriptor: Descriptor) throws {
        var info = stat()
        try check(fstat(descriptor.raw, &info), "look at \(file)")
        var at = 0
        for _ in 0..<Self.mostParts {
            let bytes = try Self.bytes(descriptor, at: at, TarHeader.block)
            if bytes.allSatisfy({ $0 == 0 }) { return nil }
            let begin = at + TarHeader.block
            guard let header = TarHeader.read(bytes), header.size >= 0, header.size <= Int(info.st_size) - begin else {
                throw BackupWriter.Failure(
                    description: "\(file) is damaged: the header at byte \(at); use another copy")
            }
            if header.name.hasPrefix(BackupIndex.usage) {
                (self.file, self.descriptor, place) = (file, descriptor, begin..<begin + header.size)
                try verify(header.name)
                return
            }
            at = begin + TarHeader.padded(header.size)
        }
        throw BackupWriter.Failure(description: "\(file) has more than \(Self.mostParts) parts")
    }

    private func verify(_ name: String) throws {
        var hash = SHA256()
        try read { hash.update(data: $0) }
        guard name == BackupIndex.entry(usage: Hexadecimal.text(Array(hash.finalize()))) else {
            throw BackupWriter.Failure(
                description: "\(file) is damaged: what was used does not have the bytes of its name; use another copy")
        }
    }

    /// All hours, at most so many at once.
    func each(_ count: Int, _ body: ([UsageHour]) throws -> Void) throws {
        var line: [UInt8] = []
        var hours: [UsageHour] = []
        try read { bytes in
            for byte in bytes {
                guard byte == 10 else {
                    line.append(byte)
                    if line.count > Self.longest { throw notReadable }
                    continue
                }
                guard let hour = try? JSONDecoder().decode(UsageHour.self, from: Data(line)) else { throw notReadable }
                line.removeAll(keepingCapacity: true)
                hours.append(hour)
                if hours.count == count {
                    try body(hours)
                    hours = []
                }
            }
        }
        guard line.isEmpty else { throw notReadable }
        if !hours.isEmpty { try body(hours) }
    }

    private var notReadable: BackupWriter.Failure {
        BackupWriter.Failure(description: "\(file) is damaged: what was used cannot be read; use another copy")
    }

    private func read(_ body: ([UInt8]) throws -> Void) throws {
        var at = place.lowerBound
        while at < place.upperBound {
            let bytes = try Self.bytes(descriptor, at: at, min(Self.block, place.upperBound - at))
            guard !bytes.isEmpty else { throw notReadable }
            try body(bytes)
            at += bytes.count
        }
    }

    /// Bytes of a file, fewer at its end.
    static func bytes(_ descriptor: Descriptor, at offset: Int, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = try bytes.withUnsafeMutableBytes {
                try check(
                    pread(descriptor.raw, $0.baseAddress.map { $0 + done }, count - done, off_t(offset + done)),
                    "read the backup")
            }
            if got == 0 { return Array(bytes[..<done]) }
            done += got
        }
        return bytes
    }
}
