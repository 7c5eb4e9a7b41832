// The importer reads descriptors. These are files in memory, one per thread and name, written anew for every input: the
// tests of the corpus run beside each other.
import CLinux
import Glibc
import Synchronization

@testable import ModelImport

enum MemoryFiles {
    private static let descriptors = Mutex<[String: Int32]>([:])

    /// An empty file.
    static func empty(_ name: String) -> Int32 {
        let descriptor = descriptors.withLock { descriptors in
            let key = "\(pthread_self()) \(name)"
            let descriptor = descriptors[key] ?? locum_memfd_create(name, LOCUM_MFD_CLOEXEC)
            descriptors[key] = descriptor
            return descriptor
        }
        guard descriptor >= 0, ftruncate(descriptor, 0) == 0 else { fatalError("no file in memory: errno \(errno)") }
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
