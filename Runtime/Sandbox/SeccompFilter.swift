// A compiled system-call filter. It comes as a file of raw instructions, because the one who loads it must
// not carry a compiler of filters, and is read while files may still be read.
import CLinux
import Glibc
public import Syscall

/// Instructions of a system-call filter, ready to load.
public struct SeccompFilter: Sendable {
    private let instructions: [UInt64]

    /// Reads a filter (an array of `struct sock_filter`) from the start of a file.
    /// - Throws: `SyscallError`; EINVAL when it is empty, too long for the kernel or not whole instructions.
    public init(descriptor: Int32) throws(SyscallError) {
        var information = stat()
        try check(fstat(descriptor, &information), "look at the filter in descriptor \(descriptor)")
        let bytes = Int(information.st_size)
        guard bytes > 0, bytes % 8 == 0, bytes / 8 <= 4096 else {
            throw SyscallError(stage: "read a filter of \(bytes) bytes", errno: EINVAL)
        }
        var got = 0
        instructions = Array(unsafeUninitializedCapacity: bytes / 8) { buffer, count in
            got = pread(descriptor, buffer.baseAddress, bytes, 0)
            count = max(0, got) / 8
        }
        guard got == bytes else { throw SyscallError(stage: "read a filter of \(bytes) bytes, got \(got)", errno: EIO) }
    }

    /// Loads the filter into every thread of this process, for good. Needs no_new_privs.
    /// - Throws: `SyscallError`; EBUSY when a thread could not follow.
    public func load() throws(SyscallError) {
        try check(locum_seccomp_load(instructions, UInt16(instructions.count)), "load the system-call filter")
    }
}
