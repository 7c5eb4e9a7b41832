// A worker that tries to get out: each attempt in a worker of its own, behind the real walls, made by the
// real zygote code; and the same attempts where nothing is in their way, so that a failure means the sandbox.
import CProbe
import Glibc
import Testing

@Suite("What a worker tries", .serialized)
struct AttemptTests {
    /// "NAME WALLS ANSWER…"
    struct Attempt {
        let name: String
        let walls: String
        let answer: String
    }

    private func run(as user: UInt32) throws -> [Attempt] {
        let probe = try ProbeProcess("attempts", as: user)
        let attempts = probe.lines().map { line in
            let parts = line.split(separator: " ", maxSplits: 2).map(String.init)
            return Attempt(name: parts[0], walls: parts.dropFirst().first ?? "", answer: parts.dropFirst(2).first ?? "")
        }
        #expect(probe.end() == 0, "\(attempts.last.map { "\($0)" } ?? "")")
        return attempts
    }

    private let killed = "signal \(SIGSYS)"

    /// A line of the table that `make test-sandbox` prints.
    private func record(passed: Bool, user: String, name: String, gain: String, outcome: String) {
        guard let path = getenv("LOCUM_SANDBOX_TABLE"), let file = fopen(path, "a") else { return }
        fputs([passed ? "passed" : "FAILED", user, name, gain, outcome].joined(separator: "\t") + "\n", file)
        fclose(file)
    }

    @Test(
        "every attempt fails in an expert and in a router, as root and as an ordinary user",
        arguments: ProbeProcess.users)
    func fails(user: UInt32) throws {
        let attempts = try run(as: user)
        for index in 0..<probe_count() {
            let name = String(cString: probe_name(index))
            let made = attempts.filter { $0.name == name && ["expert", "router"].contains($0.walls) }
            let failed = made.allSatisfy { attempt in
                [killed, "errno \(ENOSYS)"].contains(attempt.answer)
                    // The kernel may be built without 32-bit programs.
                    || name == "i386-getpid" && attempt.answer == "signal \(SIGSEGV)"
            }
            let outcome = made.map { "\($0.walls): \($0.answer)" }.joined(separator: ", ")
            record(
                passed: failed && made.count == 2, user: user == 0 ? "root" : "an ordinary user", name: name,
                gain: String(cString: probe_gain(index)), outcome: outcome)
            #expect(failed && made.count == 2, "\(name): \(outcome)")
        }
        // Those that nobody makes by mistake end the process at once.
        let fatal = [
            "open", "openat", "socket-unix", "socket-inet", "socket-netlink", "fork", "clone", "execve", "execveat",
            "ptrace-traceme", "ptrace-seize", "mmap-exec", "mmap-rwx", "mprotect-exec", "pkey-mprotect-exec",
            "memfd-create", "kill-other", "kill-all", "tkill", "pidfd-open", "process-vm-readv", "mount", "umount",
            "pivot-root", "chroot", "unshare-user", "setns", "bpf", "perf-event-open", "io-uring-setup", "userfaultfd",
            "keyctl", "seccomp", "setuid-0", "capset", "reboot", "x32-getpid",
        ]
        for name in fatal {
            let answers = attempts.filter { $0.name == name && $0.walls != "unfiltered" }.map(\.answer)
            #expect(answers == [killed, killed], "\(name): \(answers)")
        }
        // libc asks for clone3 first and must hear that there is none.
        #expect(
            attempts.filter { $0.name == "clone3" && $0.walls != "unfiltered" }.map(\.answer)
                == Array(repeating: "errno \(ENOSYS)", count: 2))
    }

    @Test("the other walls hold where the filter is missing", arguments: ProbeProcess.users)
    func unfiltered(user: UInt32) throws {
        let attempts = try run(as: user).filter { $0.walls == "unfiltered" }
        let refused = [
            "creat", "mkdir", "readlink", "kill-other", "tkill", "tgkill-other", "rt-sigqueueinfo", "ptrace-seize",
            "mount", "remount-writable", "umount", "pivot-root", "chroot", "setns", "setuid-0", "setresuid-0",
            "setgid-0", "setgroups", "capset", "iopl", "reboot", "init-module", "prlimit-raise", "sethostname",
            "socket-packet", "execve", "fsopen", "unshare-mount", "mq-open",
        ]
        for name in refused {
            let answer = attempts.first { $0.name == name }?.answer ?? "not tried"
            #expect(answer.hasPrefix("errno "), "\(name): \(answer)")
        }
    }

    @Test("a trap and an abort of PID 1 end it", arguments: ProbeProcess.users)
    func traps(user: UInt32) throws {
        let attempts = try run(as: user)
        #expect(attempts.first { $0.name == "trap" }?.answer.hasPrefix("signal ") == true)
        #expect(attempts.first { $0.name == "abort" }?.answer.hasPrefix("signal ") == true)
    }

    @Test("no worker starts as root", .enabled(if: geteuid() == 0))
    func neverRoot() throws {
        #expect(try run(as: 0).first { $0.name == "uid-0" }?.answer == "refused")
    }

    @Test("the harmless attempts succeed outside, so they are attempts")
    func effective() {
        for index in 0..<probe_count() where probe_harmless(index) {
            let name = String(cString: probe_name(index))
            // readlink of /proc/self/exe and the like need a /proc, which every host of ours has.
            #expect(probe_run(index) >= 0, "\(name) fails outside, too")
        }
    }
}
