// System-call policies as data: who may call what, with which arguments, and why. They are the files of this folder,
// embedded at build time, in the syntax of minijail's policy files (the part of it that is needed). Nothing here runs
// in a sandbox: whoever starts a process compiles its policy (libseccomp) and hands the instructions on.

/// A system-call policy: which calls are allowed, which end the process; every other one answers ENOSYS.
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

        public func holds(_ arguments: [UInt64]) -> Bool { arguments[Int(argument)] & mask == value }
    }

    /// One alternative for a call: all its conditions must hold.
    public struct Rule: Sendable, Equatable {
        /// Name as in the kernel's table.
        public let call: String
        public let action: Action
        public let conditions: [Condition]
    }

    /// The policies there are; `rawValue` is the file's name.
    public enum Name: String, Sendable, CaseIterable {
        case expert
        case router
        case importer = "import"
        case control
    }

    public let name: String
    public let rules: [Rule]

    /// The policy of that name.
    /// - Throws: `PolicyError` when its file is wrong, which a test excludes.
    public init(_ name: Name) throws(PolicyError) {
        self = try SeccompPolicy(name: name.rawValue) { file in
            switch file {
            case "expert.policy": PackageResources.expert_policy
            case "router.policy": PackageResources.router_policy
            case "import.policy": PackageResources.import_policy
            case "control.policy": PackageResources.control_policy
            case "confined.policy": PackageResources.confined_policy
            case "never.policy": PackageResources.never_policy
            default: nil
            }
        }
    }

    /// Reads the policy `name` from the files that `text` finds by name.
    init(name: String, text: @escaping (String) -> [UInt8]?) throws(PolicyError) {
        self.name = name
        var reader = PolicyReader(text: text)
        try reader.read("\(name).policy")
        rules = reader.rules
    }

    public var description: String { name }

    /// Names of the calls that the policy allows at all, each once, sorted.
    public var allowedCalls: [String] { Set(rules.filter { $0.action == .allow }.map(\.call)).sorted() }

    /// What becomes of a call with six arguments; nil: ENOSYS. Killing is stronger, as it is in the kernel.
    public func action(_ call: String, _ arguments: [UInt64]) -> Action? {
        let held = rules.filter { $0.call == call && $0.conditions.allSatisfy { $0.holds(arguments) } }
        return held.contains { $0.action == .kill } ? .kill : held.isEmpty ? nil : .allow
    }
}

/// A policy file that cannot be read.
public struct PolicyError: Error, Sendable, CustomStringConvertible {
    public let file: String
    /// From 1; 0 where no line is meant.
    public let line: Int
    public let reason: String
    public var description: String { "the system-call policy \(file), line \(line): \(reason)" }
}
