// Memory: what there is, what `locum up` would take of it, and what may be locked.
import Glibc
import Scheduler

enum MemoryChecks {
    static func all(_ node: NodeWord) -> [Check] { [memory(node), locked(node)] }

    /// What `locum up` takes when nobody says.
    private static func budget(_ node: NodeWord) -> Int? { node.facts["budget"].flatMap { Int($0) } }

    private static func memory(_ node: NodeWord) -> Check {
        let text = HostFile.text("/proc/meminfo") ?? ""
        func amount(_ name: String) -> Int? { HostFile.kibibytes(name + ":", in: text) }
        guard let total = amount("MemTotal"), let available = amount("MemAvailable") else {
            return .note("memory", "/proc/meminfo cannot be read", "give `locum up` a budget: --memory")
        }
        let swap = amount("SwapTotal") ?? 0
        let overcommit = HostFile.number("/proc/sys/vm/overcommit_memory")
        var found = "\(Human.bytes(total)), \(Human.bytes(available)) available, swap \(Human.bytes(swap))"
        if let overcommit { found += ", overcommit \(overcommit)" }
        var advice: [String] = []
        if let budget = budget(node) {
            found += "; `locum up` takes at most \(Human.bytes(budget))"
            if budget < total / 10 * 7 { found += " (a cgroup's limit)" }
            if budget > available {
                advice.append(
                    "others use so much that the budget is not free: give `locum up` a smaller one (--memory "
                        + "\(max(1, available >> 20))M), or the host will swap or kill")
            }
            if budget < MemoryCost.daemons + MemoryCost.margin + (64 << 20) {
                advice.append("no model fits beside the daemons; raise the cgroup's limit")
            }
        }
        if overcommit == 2 {
            advice.append(
                "vm.overcommit_memory = 2 counts what workers reserve as if they used it: set it to 0, or raise "
                    + "vm.overcommit_ratio")
        }
        guard advice.isEmpty else { return .note("memory", found, advice.joined(separator: ". ")) }
        return .ok("memory", found)
    }

    private static func locked(_ node: NodeWord) -> Check {
        let limit = Workload.limit(__RLIMIT_MEMLOCK)
        guard let limit, limit < budget(node) ?? .max else {
            return .ok("locked_memory", limit.map { Human.bytes($0) } ?? "no limit")
        }
        return .note(
            "locked_memory", "at most \(Human.bytes(limit)) a process",
            "weights of a larger function are kept by use, not locked: the kernel may drop them when others need memory. "
                + "Raise it by LimitMEMLOCK= or in /etc/security/limits.conf")
    }
}
