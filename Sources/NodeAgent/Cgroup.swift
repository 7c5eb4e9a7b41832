// The control groups that all workers and the import are in, so that the kernel accounts and limits them. Only
// cgroup v2, and only where a controller is delegated to us: a group without controllers would be a name and
// nothing else. Where there is none, Locum runs without, and `locum status` says why.
import CLinux
import Glibc
import Syscall
import Wire

/// Cgroups of our own, for zygote and workers and for the import.
struct Cgroup {
    /// The folder of zygote and workers.
    let path: String
    /// The import's.
    var imports: String { path + "-import" }
    /// Controllers in force in it, for example `cpu io memory pids`.
    let controllers: String
    /// The folder of the group that node and it are in.
    let whole: String
    /// Where node goes within a group that systemd delegated to it.
    private static let ours = "daemon"
    private static let wanted = ["cpu", "memory", "pids"]

    /// Makes the group below that of this process.
    /// - Returns: the group if there is one, and what `locum status` says of it.
    static func make(name: String) -> (group: Cgroup?, state: String) {
        let (group, absence) = make(
            name: name, groups: ProcessFacts.read("/proc/self/cgroup", atMost: 16_384),
            mounts: ProcessFacts.read("/proc/self/mountinfo", atMost: 1 << 20))
        return (group, group.map { "v2: \($0.controllers)" } ?? "absent: \(absence)")
    }

    /// Makes the group.
    /// - Parameters:
    ///   - name: of the new group; one that is left over from a crash is used again.
    ///   - groups: the text of /proc/self/cgroup. mounts: the text of /proc/self/mountinfo.
    /// - Returns: the group, or why there is none.
    static func make(
        name: String, groups: String, mounts: String, isDelegated: (String) -> Bool = Cgroup.isDelegated
    ) -> (group: Cgroup?, absence: String) {
        guard let mount = mountPoint(mounts) else { return (nil, "cgroup v2 is not mounted") }
        guard let own = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") })?.dropFirst(3) else {
            return (nil, "this process is in no cgroup v2")
        }
        let parent = own == "/" ? mount : mount + own
        // A group whose children have controllers may hold no process itself, so node makes room (systemd 254 would do
        // that: DelegateSubgroup=). Not where nobody said that the group is node's alone.
        if isDelegated(parent) {
            mkdir("\(parent)/\(ours)", 0o755)
            write("\(getpid())", to: "\(parent)/\(ours)/cgroup.procs")
        }
        let path = "\(parent)/\(name)"
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            return (nil, "no group can be made in \(parent): \(String(cString: strerror(errno)))")
        }
        // Memory is refused where the parent holds processes itself, unless it is the root: then what is there is used.
        // One by one: a write with one name that is not there enables none.
        let switches = "\(parent)/cgroup.subtree_control"
        let before = ProcessFacts.read(switches, atMost: 1024).split(whereSeparator: \.isWhitespace).map(String.init)
        for name in wanted { write("+\(name)", to: switches) }
        func giveUp(_ absence: String) -> (group: Cgroup?, absence: String) {
            rmdir(path)
            for name in wanted where !before.contains(name) { write("-\(name)", to: switches) }
            return (nil, absence)
        }
        // Cpu and pids are not refused there, but make the parent a group of threads whose children take no process.
        guard !ProcessFacts.read("\(path)/cgroup.type", atMost: 64).contains("invalid") else {
            return giveUp("\(parent) holds processes, so it can have no groups with limits")
        }
        let controllers = ProcessFacts.read("\(path)/cgroup.controllers", atMost: 1024)
            .split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let words = controllers.split(separator: " ")
        guard words.contains("memory") || words.contains("pids") else {
            return giveUp("neither memory nor pids is delegated to \(parent)")
        }
        return (Cgroup(path: path, controllers: controllers, whole: parent), "")
    }

    /// systemd marks what it delegates (Delegate=).
    static func isDelegated(_ path: String) -> Bool {
        ["trusted.delegate", "user.delegate"].contains { name in
            var value: UInt8 = 0
            return locum_get_attribute(path, name, &value, 1) == 1 && value == UInt8(ascii: "1")
        }
    }

    /// What all workers together may have, and what the import may, whatever they do: the kernel holds it where it has
    /// the controllers. Honest ones stay below by what they reserve. Workers that burn processor time, however many,
    /// leave half of it to node where the group was delegated, and an import has a tenth of what they have.
    func limit(memory bytes: Int, tasks: Int) {
        mkdir(imports, 0o755)
        for (folder, memory, tasks, weight) in [(path, bytes, tasks, 100), (imports, Self.importMemory, 16, 10)] {
            Self.write("\(memory)", to: "\(folder)/memory.max")
            Self.write("0", to: "\(folder)/memory.swap.max")
            Self.write("\(tasks)", to: "\(folder)/pids.max")
            Self.write("\(weight)", to: "\(folder)/cpu.weight")
        }
    }

    /// Beyond an import's own limit: pages of the files that it reads and writes.
    private static let importMemory = 1 << 30

    /// Moves a worker's process in; what it forks follows.
    func take(_ pid: Int32) { Self.write("\(pid)", to: "\(path)/cgroup.procs") }

    /// Moves an import in.
    func takeImport(_ pid: Int32) { Self.write("\(pid)", to: "\(imports)/cgroup.procs") }

    /// Removes the groups. Works once all their processes have ended; a killed import may take a moment.
    func remove() {
        for folder in [path, imports] {
            for _ in 0..<50 {
                guard rmdir(folder) < 0, errno == EBUSY else { break }
                usleep(2000)
            }
        }
    }

    private static func mountPoint(_ mounts: String) -> String? {
        for line in mounts.split(separator: "\n") where line.contains(" - cgroup2 ") {
            let fields = line.split(separator: " ")
            // Field 4 is the root of the mount within the hierarchy; another one than / would need rebasing.
            if fields.count > 4, fields[3] == "/" { return String(fields[4]) }
        }
        return nil
    }

    @discardableResult
    private static func write(_ text: String, to path: String) -> Bool {
        let raw = open(path, O_WRONLY | O_CLOEXEC)
        guard raw >= 0 else { return false }
        let file = Descriptor(owning: raw)
        let bytes = Array(text.utf8)
        return Glibc.write(file.raw, bytes, bytes.count) == bytes.count
    }
}
