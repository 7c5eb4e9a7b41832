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

    /// Applies to the calling thread and all that it starts. Needs no_new_privs.
    func restrict() throws(SyscallError) {
        try check(locum_landlock_restrict(ruleset.raw), "restrict by Landlock")
    }
}
