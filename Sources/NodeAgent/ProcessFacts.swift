// What /proc says about a worker, read from outside without waking it.
import Glibc
import Syscall

/// Facts about processes, from /proc.
enum ProcessFacts {
    /// The pid behind a pidfd as this host sees it; 0 when the process is gone.
    static func pid(of pidfd: Descriptor) -> Int32 {
        let text = read("/proc/self/fdinfo/\(pidfd.raw)", atMost: 1024)
        return Int32(max(0, field("Pid:", in: text)))
    }

    /// What the kernel says of a process's memory, in bytes; 0 when it is gone.
    struct Memory {
        /// Private_Dirty + Swap: what would come free with the process. Private_Clean is left out: it counts shard pages that
        /// nobody else maps right now.
        var privateBytes: UInt64
        /// Pss + SwapPss: its proportional share of everything that it maps.
        var proportionalBytes: UInt64
    }

    static func memory(of pid: Int32) -> Memory {
        let text = read("/proc/\(pid)/smaps_rollup", atMost: 4096)
        func bytes(_ names: String...) -> UInt64 { names.reduce(0) { $0 + UInt64(max(0, field($1, in: text))) * 1024 } }
        return Memory(privateBytes: bytes("Private_Dirty:", "Swap:"), proportionalBytes: bytes("Pss:", "SwapPss:"))
    }

    /// The text of a small file; empty when it cannot be read.
    static func read(_ path: String, atMost: Int) -> String {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else { return "" }
        let file = Descriptor(owning: raw)
        let bytes = [UInt8](unsafeUninitializedCapacity: atMost) { buffer, filled in
            while filled < atMost {
                let got = Glibc.read(file.raw, buffer.baseAddress.map { $0 + filled }, atMost - filled)
                if got <= 0 { break }
                filled += got
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The number after `name` at the start of a line; -1 when there is none.
    private static func field(_ name: String, in text: String) -> Int {
        for line in text.split(separator: "\n") where line.hasPrefix(name) {
            let words = line.dropFirst(name.count).split(whereSeparator: { $0 == " " || $0 == "\t" })
            return words.first.flatMap { Int($0) } ?? -1
        }
        return -1
    }
}
