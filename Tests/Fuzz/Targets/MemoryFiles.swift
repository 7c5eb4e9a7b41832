// The importer reads descriptors. These are files in memory, one per name, written anew for every input.
import CLinux
import Glibc

@testable import ModelImport

enum MemoryFiles {
    nonisolated(unsafe) private static var descriptors: [String: Int32] = [:]

    /// An empty file.
    static func empty(_ name: String) -> Int32 {
        let descriptor = descriptors[name] ?? locum_memfd_create(name, LOCUM_MFD_CLOEXEC)
        guard descriptor >= 0, ftruncate(descriptor, 0) == 0 else { fatalError("no file in memory: errno \(errno)") }
        descriptors[name] = descriptor
        lseek(descriptor, 0, SEEK_SET)
        return descriptor
    }

    static func source(_ name: String, _ bytes: [UInt8]) -> ImportSource {
        let descriptor = empty(name)
        guard pwrite(descriptor, bytes, bytes.count, 0) == bytes.count else { fatalError("writing: errno \(errno)") }
        return ImportSource(name: name, descriptor: descriptor)
    }

    static func file(_ name: String, _ bytes: [UInt8]) throws(ImportError) -> SourceFile {
        try SourceFile(source(name, bytes))
    }

    static func contents(_ descriptor: Int32) -> [UInt8] {
        let size = Int(lseek(descriptor, 0, SEEK_END))
        return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            count = pread(descriptor, buffer.baseAddress, size, 0)
        }
    }
}
