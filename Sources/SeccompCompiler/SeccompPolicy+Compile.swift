// Policies (module Policies, pure data) become instructions here, once, in whoever starts a process: those that load them
// link no libseccomp, and what they get is the same bytes for each. The result is a memfd, because the
// zygote has no file system to read it from.
import CLinux
import CSeccomp
import Glibc
public import Policies
public import Syscall

/// A policy that could not be compiled.
public struct SeccompError: Error, Sendable, CustomStringConvertible {
    public let code: String
    public let message: String
    public var description: String { message }
}

extension SeccompPolicy {
    /// The policy as an array of `struct sock_filter` in a memfd, which is sealed against change.
    /// - Throws: `SeccompError` that names the policy and the rule. A call that this machine's architecture
    ///   does not have is left out: nobody can make it.
    public func compile() throws(SeccompError) -> Descriptor {
        func failure(_ what: String, _ result: Int32) -> SeccompError {
            let reason = String(cString: strerror(-result))
            return SeccompError(code: "seccomp", message: "the system-call policy '\(name)': \(what): \(reason)")
        }
        // ERRNO(ENOSYS); the macro does not import.
        guard let context = seccomp_init(0x0005_0000 | UInt32(ENOSYS)) else { throw failure("begin", -ENOMEM) }
        defer { seccomp_release(context) }
        // Calls by another architecture's numbers (int 0x80, x32) kill. Calls are searched as a tree.
        for (attribute, value) in [(SCMP_FLTATR_ACT_BADARCH, killProcess), (SCMP_FLTATR_CTL_OPTIMIZE, 2)] {
            let result = seccomp_attr_set(context, attribute, value)
            guard result == 0 else { throw failure("set attribute \(attribute.rawValue)", result) }
        }
        for rule in rules {
            let number = seccomp_syscall_resolve_name(rule.call)
            guard number != -1 else { throw failure("libseccomp knows no call named \(rule.call)", -EINVAL) }
            // Below -1: known, but not on this architecture.
            guard number >= 0 else { continue }
            let conditions = rule.conditions.map {
                scmp_arg_cmp(arg: $0.argument, op: SCMP_CMP_MASKED_EQ, datum_a: $0.mask, datum_b: $0.value)
            }
            let action = rule.action == .allow ? UInt32(0x7fff_0000) : killProcess
            let result = seccomp_rule_add_array(context, action, number, UInt32(conditions.count), conditions)
            guard result == 0 else { throw failure("the rule for \(rule.call)", result) }
        }
        return try export(context, failure)
    }

    private func export(
        _ context: scmp_filter_ctx, _ failure: (String, Int32) -> SeccompError
    ) throws(SeccompError) -> Descriptor {
        let raw = locum_memfd_create("locum-\(name)-policy", LOCUM_MFD_CLOEXEC | LOCUM_MFD_ALLOW_SEALING)
        guard raw >= 0 else { throw failure("make a file for it", -errno) }
        let file = Descriptor(owning: raw)
        let result = seccomp_export_bpf(context, raw)
        guard result == 0 else { throw failure("export", result) }
        let seals = LOCUM_F_SEAL_WRITE | LOCUM_F_SEAL_GROW | LOCUM_F_SEAL_SHRINK | LOCUM_F_SEAL_SEAL
        guard locum_add_seals(raw, seals) == 0 else { throw failure("seal", -errno) }
        return file
    }
}

/// SECCOMP_RET_KILL_PROCESS.
private let killProcess: UInt32 = 0x8000_0000
