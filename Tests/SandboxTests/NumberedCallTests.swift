// The policy files against the kernel: every system call by number, made in the sandbox, must be let through, answered
// ENOSYS or killed just as the files say.
import CSeccomp
import Glibc
import Policies
import Testing

@Suite("Every system call by number", .serialized)
struct NumberedCallTests {
    @Test(
        "is let through, unknown or fatal as the policy file says, from each thread of an expert and a router",
        arguments: ProbeProcess.users)
    func workers(user: UInt32) throws {
        try compare("calls", as: user, policies: ["expert": .expert, "router": .router], atLeast: 5000)
    }

    @Test("is let through, unknown or fatal as the policy file says, in an import")
    func imports() throws {
        try compare("import-calls", as: geteuid(), policies: ["import": .importer], atLeast: 1400)
    }

    private func compare(
        _ mode: String, as user: UInt32, policies: [String: SeccompPolicy.Name], atLeast: Int
    ) throws {
        let policies = try policies.mapValues { try SeccompPolicy($0) }
        let probe = try ProbeProcess(mode, as: user)
        var (made, reached) = (0, Set<String>())
        var differences: [String] = []
        while let line = probe.line() {
            // WALLS THREAD NUMBER ARGUMENTS ANSWER…
            let words = line.split(separator: " ", maxSplits: 4).map(String.init)
            guard words.count == 5, let number = Int32(words[2]), let policy = policies[words[0]] else {
                Issue.record("\(line)")
                continue
            }
            let arguments = words[3].split(separator: ",").compactMap { UInt64($0, radix: 16) }
            let name = name(of: number)
            let expected = name.flatMap { policy.action($0, arguments) }
            let seen: SeccompPolicy.Action? =
                switch words[4] {
                case "signal \(SIGSYS)": .kill
                case "errno \(ENOSYS)": nil
                default: .allow
                }
            made += 1
            // Linux lets these two past every filter on x86: they return from a uprobe, and made by anybody else do nothing
            // but raise SIGILL or answer ENXIO.
            if [335, 336].contains(number), ["signal \(SIGILL)", "errno \(ENXIO)"].contains(words[4]) { continue }
            if seen == .allow, let name { reached.insert(name) }
            if seen != expected { differences.append("\(name ?? "no call"): \(line)") }
        }
        #expect(probe.end() == 0)
        #expect(differences.isEmpty, "\(differences.count): \(differences.prefix(10).joined(separator: "; "))")
        #expect(made >= atLeast)
        // Every call that a file allows was seen to be allowed, so nothing was overlooked.
        for policy in policies.values {
            let here = policy.allowedCalls.filter { seccomp_syscall_resolve_name($0) >= 0 }
            #expect(Set(here).subtracting(reached).isEmpty)
        }
    }

    private func name(of number: Int32) -> String? {
        guard let name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number) else { return nil }
        defer { free(name) }
        return String(cString: name)
    }
}
