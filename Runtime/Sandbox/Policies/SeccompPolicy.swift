// System-call policies as data: who may call what, with which arguments, and why. Nothing here runs in a
// sandbox; node compiles a policy once (libseccomp) and hands the instructions on. A call that stands in no
// rule answers ENOSYS, which libc takes as "an old kernel" and finds another way or fails cleanly; calls of
// the escape set end the process, because no honest code in a worker makes them.

/// A system-call policy: rules, first for the calls allowed, then for those that kill.
public struct SeccompPolicy: Sendable, CustomStringConvertible {
    public enum Action: Sendable, Equatable {
        case allow
        /// SIGSYS to the whole process.
        case kill
    }

    /// Holds when `(argument & mask) == value`.
    public struct Condition: Sendable, Equatable {
        /// Argument of the call, from 0.
        public let argument: UInt32
        public let mask: UInt64
        public let value: UInt64

        /// A 32-bit argument is exactly this; the kernel ignores the register's upper half, so does the rule.
        static func equal(_ argument: UInt32, _ value: Int32) -> Condition {
            Condition(argument: argument, mask: 0xffff_ffff, value: UInt64(UInt32(bitPattern: value)))
        }
        static func without(_ argument: UInt32, bits: UInt64) -> Condition {
            Condition(argument: argument, mask: bits, value: 0)
        }
        static func with(_ argument: UInt32, bits: UInt64) -> Condition {
            Condition(argument: argument, mask: bits, value: bits)
        }
    }

    /// One call. Several rules for a call are alternatives; all conditions of a rule must hold.
    public struct Rule: Sendable {
        /// Name as in the kernel's table.
        public let call: String
        public let action: Action
        public let conditions: [Condition]
        /// Who needs it, or what it would open.
        public let reason: String
    }

    /// `expert`, `router` or `import`.
    public let name: String
    public let rules: [Rule]

    init(name: String, allowing rules: [Rule]) {
        self.name = name
        self.rules = rules + SeccompPolicy.escapes
    }

    public var description: String { name }

    /// Names of the calls that the policy allows at all, each once, sorted.
    public var allowedCalls: [String] { Set(rules.filter { $0.action == .allow }.map(\.call)).sorted() }

    static func allow(_ call: String, _ conditions: Condition..., because reason: String) -> Rule {
        Rule(call: call, action: .allow, conditions: conditions, reason: reason)
    }

    static func kill(_ calls: String..., because reason: String) -> [Rule] {
        calls.map { Rule(call: $0, action: .kill, conditions: [], reason: reason) }
    }
}
