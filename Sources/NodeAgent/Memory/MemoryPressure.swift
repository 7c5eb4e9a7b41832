// How much of the time tasks wait for memory, by the kernel's own account (PSI). Of this process's cgroup (v2) where that
// is not the root and is accounted, else of the host; 0 where the kernel does not say.
import Syscall

enum MemoryPressure {
    /// Share of the last ten seconds in which some task waited, 0 to 1.
    /// - Parameter group: folder of the cgroup to ask, instead of this process's own.
    static func stalled(in group: String? = nil) -> Double {
        if let group, let share = share(ProcessFacts.read("\(group)/memory.pressure", atMost: 256)) { return share }
        let groups = ProcessFacts.read("/proc/self/cgroup", atMost: 16_384)
        let own = groups.split(separator: "\n").first { $0.hasPrefix("0::") }.map { $0.dropFirst(3) }
        if let own, own != "/" {
            let text = ProcessFacts.read("/sys/fs/cgroup\(own)/memory.pressure", atMost: 256)
            if let share = share(text) { return share }
        }
        return share(ProcessFacts.read("/proc/pressure/memory", atMost: 256)) ?? 0
    }

    /// `some avg10=1.53 avg60=…` as 0.0153; nil when it says nothing of the kind.
    static func share(_ text: String) -> Double? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("some ") }),
            let field = line.split(separator: " ").first(where: { $0.hasPrefix("avg10=") }),
            let percent = Double(field.dropFirst("avg10=".count)), percent.isFinite
        else { return nil }
        return min(1, max(0, percent / 100))
    }
}
