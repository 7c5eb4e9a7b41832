// Facts and limits of this process itself.
import CLinux
import Glibc
public import Syscall

/// The process that runs this code.
public enum Process {
    /// Sockets of 1,440 instances are more than the usual soft limit; the hard one is what we may have.
    public static func raiseDescriptorLimit() {
        _ = locum_raise_file_limit()
    }

    /// Makes malloc give memory back at once: what a deployment or a burst of links took must not stay with a
    /// daemon that idles most of its life.
    public static func keepSmall() { locum_malloc_frugally() }

    /// Gets this thread a core soon after it wakes, while others compute on all of them: a read waits for node's word.
    /// Without it a wish for an expert waited up to 4 ms for somebody's turn to end.
    public static func wakeQuickly() { _ = locum_take_short_turns(100_000) }

    /// Where the programs lie that belong to this one.
    public static func folderOfThisProgram() throws(SyscallError) -> String {
        let path = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            guard let base = UnsafeMutableRawPointer(buffer.baseAddress) else { return }
            count = max(0, readlink("/proc/self/exe", base.assumingMemoryBound(to: CChar.self), 4096))
        }
        guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else {
            throw SyscallError(stage: "read /proc/self/exe")
        }
        return String(decoding: path[..<slash], as: UTF8.self)
    }
}
