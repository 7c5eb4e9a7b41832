// Landlock, where the kernel has it: a second wall behind the empty root folder. The rule set handles every
// right that the running kernel knows and allows none, so it says the same on all of them: no file, no TCP,
// and from version 6 no signal and no abstract socket to anyone outside.
import CLinux
import Glibc
public import Syscall

/// A rule set that allows nothing. Made once; each worker enters a domain of its own by it.
public struct Landlock: Sendable {
    let ruleset: Descriptor
    /// What the kernel speaks, for example 4.
    public let version: Int32

    /// - Returns: nil when the kernel has no Landlock, with the reason in `absence`.
    /// - Throws: `SyscallError` when it has one that fails.
    public static func probe(absence: inout String) throws(SyscallError) -> Landlock? {
        let version = locum_landlock_version()
        guard version > 0 else {
            absence = errno == EOPNOTSUPP ? "absent: switched off at boot (lsm=)" : "absent: not in this kernel"
            return nil
        }
        let ruleset = try check(locum_landlock_ruleset(version), "make a Landlock rule set of version \(version)")
        return Landlock(ruleset: Descriptor(owning: ruleset), version: version)
    }

    /// Lets what is below `path` be read, or also written, made and removed. One that is not there is left out.
    func allow(_ path: String, writing: Bool) throws(SyscallError) {
        let raw = open(path, 0o10000000 /* O_PATH */ | O_CLOEXEC)
        if raw < 0 { return }
        let file = Descriptor(owning: raw)
        try check(locum_landlock_allow(ruleset.raw, version, file.raw, writing), "allow \(path) by Landlock")
    }

    /// Lets it listen on a TCP port, and on no other (version 4 and later).
    func allowListening(port: UInt16) throws(SyscallError) {
        try check(locum_landlock_allow_port(ruleset.raw, version, port), "allow port \(port) by Landlock")
    }

    /// Applies to the calling thread and all that it starts. Needs no_new_privs.
    func restrict() throws(SyscallError) {
        try check(locum_landlock_restrict(ruleset.raw), "restrict by Landlock")
    }
}
