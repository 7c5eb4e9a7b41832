// Namespaces, each tried by itself so that one that is refused has a name. Root needs no user namespace; an ordinary
// user gets the others by one.
import CLinux
import Glibc

enum NamespaceChecks {
    static func all() -> [Check] { [users(), others()] }

    private static let kinds: [(name: String, flag: UInt64, limit: String)] = [
        ("pid", LOCUM_NEW_PIDS, "max_pid_namespaces"), ("mount", LOCUM_NEW_MOUNTS, "max_mnt_namespaces"),
        ("network", LOCUM_NEW_NETWORK, "max_net_namespaces"), ("ipc", LOCUM_NEW_IPC, "max_ipc_namespaces"),
        ("uts", LOCUM_NEW_UTS, "max_uts_namespaces"),
    ]

    /// Settings that take user namespaces from ordinary users: the file below /proc/sys, what it says when it does, and
    /// what undoes it.
    private static let switches: [(file: String, takes: @Sendable (Int) -> Bool, remedy: String)] = [
        ("user/max_user_namespaces", { $0 == 0 }, "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", { $0 == 0 }, "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns", { $0 != 0 },
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for locum-node that "
                + "allows userns"
        ),
    ]

    private static func users() -> Check {
        let set = switches.compactMap { one in
            HostFile.number("/proc/sys/\(one.file)").map { (one: one, value: $0) }
        }
        let settings = set.map { "\($0.one.file.split(separator: "/").last ?? "") = \($0.value)" }
        let closed = set.filter { $0.one.takes($0.value) }
        let told = settings.isEmpty ? "no sysctl says otherwise" : settings.joined(separator: ", ")
        let failure = Trial.failure(LOCUM_NEW_USER)
        if geteuid() == 0 {
            let others = failure == nil && closed.isEmpty ? "can make them" : "cannot make them"
            return .ok("user_namespaces", "not needed by root; ordinary users \(others) (\(told))")
        }
        guard let failure else {
            guard !closed.isEmpty else { return .ok("user_namespaces", "allowed (\(told))") }
            return .note(
                "user_namespaces", "made, but restricted (\(told))",
                "if the sandbox below fails: " + closed.map(\.one.remedy).joined(separator: "; "))
        }
        let remedy =
            closed.isEmpty
            ? "the host or the container around it forbids them: allow them there"
            : closed.map(\.one.remedy).joined(separator: "; ")
        return .problem(
            "user_namespaces", "none can be made: \(failure) (\(told))",
            "an ordinary user's workers need them. \(remedy); or run Locum as root")
    }

    private static func others() -> Check {
        let user = geteuid() == 0 ? 0 : LOCUM_NEW_USER
        var (made, refused): ([String], [String]) = ([], [])
        for kind in kinds {
            if let failure = Trial.failure(kind.flag | user) {
                refused.append("\(kind.name): \(failure)")
            } else {
                made.append(kind.name)
            }
        }
        guard refused.isEmpty else {
            return .problem(
                "namespaces", refused.joined(separator: "; "),
                geteuid() == 0
                    ? "this root lacks CAP_SYS_ADMIN, or a limit in /proc/sys/user is 0: give it the capability, or run "
                        + "Locum as an ordinary user where those may make user namespaces"
                    : "see user_namespaces; or a limit in /proc/sys/user is 0")
        }
        // A worker has one of each but the network, which is the zygote's.
        let tight = kinds.filter { kind in
            kind.name != "network" && (HostFile.number("/proc/sys/user/\(kind.limit)") ?? .max) < Workload.workers + 16
        }
        let found = made.joined(separator: ", ")
        guard !tight.isEmpty else { return .ok("namespaces", found) }
        let limits = tight.map { "user.\($0.limit)" }.joined(separator: ", ")
        return .note(
            "namespaces",
            "\(found); at most \(tight.compactMap { HostFile.number("/proc/sys/user/\($0.limit)") }.min() ?? 0)",
            "each worker has its own: raise \(limits) for \(Workload.workers) of them")
    }
}
