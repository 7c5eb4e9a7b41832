// Limits, against the largest workload that Locum promises: so many expert functions alive at once, each with a lane per
// core. Smaller models need less; the lines say how much there is.
import CLinux
import Glibc

/// What is promised to run at once.
enum Workload {
    static let workers = 1_440
    /// Sockets and processes of the daemons and of routers themselves.
    static let rest = 256

    /// The hard limit; nil when there is none. The daemons raise the soft ones by themselves.
    static func limit(_ resource: __rlimit_resource) -> Int? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_max != .max else {
            return nil
        }
        return Int(clamping: limit.rlim_max)
    }
}

enum LimitChecks {
    static func all() -> [Check] { [files(), processes()] }

    private static func files() -> Check {
        // A router holds a socket per lane of each function that it calls; node holds four per worker.
        let each = max(4, Up.standardThreads)
        let need = Workload.workers * each + Workload.rest
        guard let limit = Workload.limit(RLIMIT_NOFILE), limit < need else {
            return .ok(
                "open_files", "at most \(Workload.limit(RLIMIT_NOFILE).map { "\($0)" } ?? "any number") a process")
        }
        return .note(
            "open_files", "at most \(limit) a process",
            "enough for about \(max(0, limit - Workload.rest) / each) functions at once; for \(Workload.workers) raise it to "
                + "\(need) by LimitNOFILE= or in /etc/security/limits.conf")
    }

    private static func processes() -> Check {
        let threads = Up.standardThreads
        let need = Workload.workers * threads + Workload.rest
        var limits: [(name: String, value: Int)] = []
        func add(_ name: String, _ value: Int?) { if let value { limits.append((name, value)) } }
        add("kernel.pid_max", HostFile.number("/proc/sys/kernel/pid_max"))
        add("kernel.threads-max", HostFile.number("/proc/sys/kernel/threads-max"))
        // Root's workers have uids of their own, so that none meets this limit.
        if geteuid() != 0 { add("ulimit -u", Workload.limit(__RLIMIT_NPROC)) }
        for group in groupLimits() { add(group.name, group.value) }
        guard let least = limits.min(by: { $0.value < $1.value }) else {
            return .ok("processes", "no limit is known")
        }
        let found = "at most \(least.value) threads (\(least.name))"
        guard least.value < need else { return .ok("processes", found) }
        return .note(
            "processes", found,
            "enough for about \(max(0, least.value - Workload.rest) / threads) functions at once with \(threads) "
                + "threads each; for \(Workload.workers) raise \(least.name) to \(need)")
    }

    /// `pids.max` (TasksMax=) of this process's cgroup and those above it.
    private static func groupLimits() -> [(name: String, value: Int)] {
        var found: [(String, Int)] = []
        for line in (HostFile.text("/proc/self/cgroup") ?? "").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, fields[1].isEmpty || fields[1].split(separator: ",").contains("pids") else {
                continue
            }
            let root = fields[1].isEmpty ? "/sys/fs/cgroup" : "/sys/fs/cgroup/pids"
            var path = fields[2]
            while path.count > 1 {
                if let value = HostFile.number("\(root)\(path)/pids.max") {
                    found.append(("pids.max of \(path)", value))
                }
                path = path.lastIndex(of: "/").map { path[..<$0] } ?? ""
            }
        }
        return found
    }
}
