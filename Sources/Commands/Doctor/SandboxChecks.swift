// The sandbox itself and the cgroup, by node's own word: `locum-node --check` starts a zygote and a worker as a node
// does. What it says is the verdict; the other lines say where a failure comes from.
import CLinux
import Glibc
import Syscall

/// What `locum-node --check` said.
struct NodeWord {
    let facts: [String: String]
    /// Its complaint; nil when all went well.
    let failure: String?

    init() {
        do {
            let answer = try Self.run(Installation.folder + "/locum-node", "--check")
            var facts: [String: String] = [:]
            for line in answer.output.split(separator: "\n") {
                let parts = line.split(separator: "\t", maxSplits: 1)
                if parts.count == 2 { facts[String(parts[0])] = String(parts[1]) }
            }
            self.facts = facts
            let words = answer.errors.split(separator: "\n").map { line in
                line.hasPrefix("locum-node: ") ? line.dropFirst("locum-node: ".count) : line
            }
            let said = words.isEmpty ? "locum-node ended (\(answer.ending))" : words.joined(separator: "; ")
            failure = answer.ending == "exit code 0" ? nil : said
        } catch {
            (facts, failure) = ([:], "\(error)")
        }
    }

    private static func run(
        _ program: String, _ argument: String
    ) throws(SyscallError) -> (output: String, errors: String, ending: String) {
        var (output, errors): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        try check(locum_pipe(&output), "make a pipe")
        try check(locum_pipe(&errors), "make a pipe")
        let ends = (Descriptor(owning: output[0]), Descriptor(owning: errors[0]))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, output[1], 1)
        posix_spawn_file_actions_adddup2(&actions, errors[1], 2)
        var words: [UnsafeMutablePointer<CChar>?] = [strdup(program), strdup(argument), nil]
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let failure = posix_spawn(&pid, program, &actions, nil, &words, environ)
        close(output[1])
        close(errors[1])
        guard failure == 0 else { throw SyscallError(stage: "start \(program)", errno: failure) }
        // A few lines each, which the pipes hold: one after the other is enough.
        let texts = (all(ends.0), all(ends.1))
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        let ending = status & 0x7f == 0 ? "exit code \(status >> 8 & 0xff)" : "signal \(status & 0x7f)"
        return (texts.0, texts.1, ending)
    }

    private static func all(_ pipe: Descriptor) -> String {
        var (bytes, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 4096))
        while case let got = read(pipe.raw, &buffer, buffer.count), got > 0 { bytes += buffer.prefix(got) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

enum SandboxChecks {
    static func all(_ node: NodeWord) -> [Check] { [sandbox(node), cgroup(node)] }

    private static func sandbox(_ node: NodeWord) -> Check {
        if let failure = node.failure {
            return .problem(
                "sandbox", failure, "no worker starts, so `locum up` fails here; the lines above and below say why")
        }
        let shown = ["identity", "namespaces", "capabilities", "seccomp"]
        let found = shown.compactMap { name in node.facts[name].map { "\(name): \($0)" } }
        return .ok("sandbox", "a worker was started; " + found.joined(separator: "; "))
    }

    private static func cgroup(_ node: NodeWord) -> Check {
        let layout = Self.layout()
        let state = node.facts["cgroup"] ?? "not tried"
        guard !state.hasPrefix("v2: ") else {
            return .ok("cgroup", "\(layout); delegated to us: \(state.dropFirst("v2: ".count))")
        }
        return .note(
            "cgroup", "\(layout); \(state)",
            "the kernel limits workers each by itself (rlimits) but not together; where the host has cgroup v2, start "
                + "Locum as a service with Delegate=yes, or by: systemd-run --user --scope -p Delegate=yes locum up")
    }

    /// Which hierarchies are mounted.
    private static func layout() -> String {
        let types = Set(
            (HostFile.text("/proc/self/mountinfo") ?? "").split(separator: "\n").compactMap { line -> Substring? in
                let fields = line.split(separator: " ")
                guard let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else { return nil }
                return fields[dash + 1]
            })
        switch (types.contains("cgroup2"), types.contains("cgroup")) {
        case (true, false): return "v2"
        case (true, true): return "hybrid (v1 and v2)"
        case (false, true): return "v1"
        case (false, false): return "none mounted"
        }
    }
}
