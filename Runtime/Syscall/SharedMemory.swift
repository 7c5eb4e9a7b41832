// Memory shared between two processes: a memfd, sealed against growing, shrinking and further seals, of
// which the reader gets a read-only reopen. So the writer can still give pages back (F_SEAL_FUTURE_WRITE
// would forbid that), and the reader can neither write nor remap it writable.
import CLinux
import Glibc

/// A mapping of shared or file memory, unmapped when the last reference goes.
public final class Mapping: @unchecked Sendable {
    /// First byte. Whoever writes through it is the only writer by protocol.
    public let base: UnsafeMutableRawPointer
    /// Length in bytes.
    public let count: Int

    /// Maps `count` bytes of `descriptor` from its start. The descriptor may be closed afterwards.
    /// - Throws: `SyscallError`, for example when the file is shorter than allowed or the limit is reached.
    public init(_ descriptor: Int32, count: Int, writable: Bool) throws(SyscallError) {
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        guard let base = locum_map(count, protection, MAP_SHARED | MAP_NORESERVE, descriptor, 0) else {
            throw SyscallError(stage: "map \(count) bytes of descriptor \(descriptor)")
        }
        self.base = base
        self.count = count
    }

    /// Private zeroed memory of `count` bytes, reserved but not charged until touched.
    public init(anonymous count: Int) throws(SyscallError) {
        guard let base = locum_map_anonymous(count) else {
            throw SyscallError(stage: "reserve \(count) bytes of memory")
        }
        self.base = base
        self.count = count
    }

    deinit { munmap(base, count) }

    /// Whether a page that is touched comes alone, or with those around it.
    public func expectRandomAccess(_ random: Bool) { _ = madvise(base, count, random ? MADV_RANDOM : MADV_NORMAL) }

    /// Gives the pages of `range` back to the kernel; they read as zero afterwards.
    /// `hole` punches them out of the shared file (writer only), otherwise private pages are dropped.
    public func discard(_ range: Range<Int>, hole: Bool) {
        let page = 4096
        let first = (range.lowerBound + page - 1) / page * page
        let last = min(range.upperBound, count) / page * page
        guard first < last else { return }
        _ = madvise(base + first, last - first, hole ? 9 /* MADV_REMOVE */ : MADV_DONTNEED)
    }
}

/// A sealed memfd: its writable descriptor and read-only reopen.
public struct SharedMemory: Sendable {
    public let writable: Descriptor
    public let readable: Descriptor
    public let count: Int

    /// Makes `count` bytes of shared memory; pages are charged when touched.
    public init(name: String, count: Int) throws(SyscallError) {
        let raw = try check(
            locum_memfd_create(name, LOCUM_MFD_CLOEXEC | LOCUM_MFD_ALLOW_SEALING), "create shared memory \(name)")
        let writable = Descriptor(owning: raw)
        try check(ftruncate(raw, off_t(count)), "size shared memory \(name) to \(count) bytes")
        let seals = LOCUM_F_SEAL_GROW | LOCUM_F_SEAL_SHRINK | LOCUM_F_SEAL_SEAL
        try check(locum_add_seals(raw, seals), "seal shared memory \(name)")
        self.readable = Descriptor(
            owning: try check(open("/proc/self/fd/\(raw)", O_RDONLY | O_CLOEXEC), "reopen \(name) read-only"))
        self.writable = writable
        self.count = count
    }
}
