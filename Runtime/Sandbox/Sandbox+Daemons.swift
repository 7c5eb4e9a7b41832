// What the daemons give up about themselves at their start, while they have one thread. They are trusted, so this is a
// second wall: it limits what a mistake in them is good for.
import CCap
import CLinux
import Glibc
public import Syscall

extension Sandbox {
    /// What node keeps of root's capabilities, for itself and for what it starts.
    private static let nodeCapabilities: [cap_value_t] = [
        // Namespaces and mounts of zygotes and imports.
        CAP_SYS_ADMIN,
        // A uid of its own for each worker and import.
        CAP_SETUID, CAP_SETGID,
        // Zygotes and imports empty their bounding sets.
        CAP_SETPCAP,
        // Ending workers, whose uids are others.
        CAP_KILL,
        // How much memory workers have (/proc/PID/smaps_rollup).
        CAP_SYS_PTRACE,
    ]

    /// Leaves node with the capabilities that it uses, if it has any, and without a way to more.
    /// - Returns: what is in force, for `locum status`.
    /// - Throws: `SyscallError` that names the step.
    public static func enterNode() throws(SyscallError) -> String {
        try assertOneThread()
        try cutCapabilities(to: nodeCapabilities)
        try check(locum_set_no_new_privileges(), "set no_new_privs")
        return geteuid() == 0 ? "6 capabilities, no_new_privs" : "no capabilities, no_new_privs"
    }

    /// Leaves control without capabilities, with its own folders and its own system calls only.
    /// - Parameters:
    ///   - folders: which it may read and write below; they exist.
    ///   - readable: below which it may read.
    ///   - filter: a file with its compiled policy.
    ///   - port: the TCP port on which it listens; 0: one that the kernel chooses.
    /// - Returns: what is in force, for `locum status`.
    /// - Throws: `SyscallError` that names the step.
    public static func enterControl(
        folders: [String], readable: [String], filter: Int32, port: UInt16
    ) throws(SyscallError) -> String {
        try assertOneThread()
        let filter = try SeccompFilter(descriptor: filter)
        try cutCapabilities(to: [])
        try check(locum_set_no_new_privileges(), "set no_new_privs")
        var absence = ""
        let landlock = try Landlock.probe(absence: &absence)
        if let landlock {
            for folder in folders { try landlock.allow(folder, writing: true) }
            // Names of hosts and time zones, facts about this process and this machine.
            let machine = ["/etc", "/usr/share/zoneinfo", "/proc", "/sys", "/dev/urandom", "/dev/null"]
            for folder in machine + readable {
                try landlock.allow(folder, writing: false)
            }
            try landlock.allowListening(port: port)
            try landlock.restrict()
        }
        try filter.load()
        return "no capabilities, no_new_privs, own system calls, "
            + (landlock.map { "landlock version \($0.version)" } ?? "landlock \(absence)")
    }

    /// Keeps of `wanted` what is there. Where the bounding set may not be cut (a container's root), no_new_privs has to do.
    private static func cutCapabilities(to wanted: [cap_value_t]) throws(SyscallError) {
        guard let sets = cap_get_proc() else { throw SyscallError(stage: "read the capabilities") }
        defer { cap_free(UnsafeMutableRawPointer(sets)) }
        func has(_ capability: cap_value_t) -> Bool {
            var flag = CAP_CLEAR
            return cap_get_flag(sets, capability, CAP_PERMITTED, &flag) == 0 && flag == CAP_SET
        }
        let kept = wanted.filter(has)
        // Nothing to give up, as control has as a service of its own account, whose unit denies the call as well.
        if kept.isEmpty, let none = cap_init() {
            defer { cap_free(UnsafeMutableRawPointer(none)) }
            if cap_compare(sets, none) == 0 { return }
        }
        if has(CAP_SETPCAP) {
            try keepCapabilities(kept, bounding: kept)
        } else {
            try setCapabilities(kept)
        }
    }
}
