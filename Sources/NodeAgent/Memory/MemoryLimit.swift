// How much memory there is to give out when nobody said: the cgroup's limit, since beyond it the kernel kills; else
// a share of the host's memory, since somebody else lives there too.
import Glibc
import Syscall

/// The memory that this process and its children may take.
enum MemoryLimit {
    /// What of a cgroup's limit stays free for what is not counted: page tables, sockets, an import's buffers.
    static func margin(_ limit: Int) -> Int { max(16 << 20, limit / 32) }

    /// The budget in bytes.
    static func standard() -> Int {
        let groups = ProcessFacts.read("/proc/self/cgroup", atMost: 16_384)
        let host = hostBytes()
        if let limit = groupLimit(groups), limit < host { return limit - margin(limit) }
        return host / 5 * 4
    }

    /// The lowest limit of this process's memory cgroup and those above it, v2 or v1; nil when there is none.
    private static func groupLimit(_ groups: String) -> Int? {
        var lowest: Int?
        for line in groups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let isV2 = fields[1].isEmpty
            guard isV2 || fields[1].split(separator: ",").contains("memory") else { continue }
            let roots = isV2 ? ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] : ["/sys/fs/cgroup/memory"]
            let file = isV2 ? "memory.max" : "memory.limit_in_bytes"
            var path = fields[2][...]
            while true {
                for root in roots {
                    let text = ProcessFacts.read("\(root)\(path == "/" ? "" : path)/\(file)", atMost: 64)
                    if let limit = Int(text.prefix { $0.isNumber }) { lowest = min(lowest ?? limit, limit) }
                }
                guard path.count > 1, let slash = path.lastIndex(of: "/") else { break }
                path = path[..<slash]
                if path.isEmpty { path = "/" }
            }
        }
        return lowest
    }

    private static func hostBytes() -> Int {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        return pages > 0 ? pages * sysconf(Int32(_SC_PAGESIZE)) : 1 << 30
    }
}
