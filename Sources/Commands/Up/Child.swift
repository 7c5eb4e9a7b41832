// One daemon under `locum up`: a process that is running, dead, or waiting to be started again.
import CLinux
import Glibc
import Syscall

/// A daemon process and its restarts.
struct Child {
    let program: String
    private enum State {
        case idle
        case running(pid_t)
        case waiting(until: UInt64)
    }
    private var state = State.idle
    private var status: Int32 = 0
    /// Starts within the last ten seconds; five are too many.
    private var starts: [UInt64] = []
    /// Read end of its standard output, when captured.
    var output: Descriptor?
    private var partial: [UInt8] = []

    init(program: String) { self.program = program }

    var isRunning: Bool { if case .running = state { true } else { false } }
    var restartAt: UInt64? { if case .waiting(let until) = state { until } else { nil } }
    func isDue(_ now: UInt64) -> Bool { restartAt.map { $0 <= now } ?? false }

    /// It ended with an exit code of its own, not by a signal.
    var endedByItself: Bool { status & 0x7f == 0 }
    var ending: String {
        status & 0x7f == 0 ? "exit code \((status >> 8) & 0xff)" : "signal \(status & 0x7f)"
    }

    /// Starts the program that lies beside this one.
    mutating func start(_ arguments: [String], lifeline: Int32, captureOutput: Bool = false) throws {
        let path = Installation.folder + "/" + program
        var pipe: [Int32] = [-1, -1]
        if captureOutput { try check(locum_pipe(&pipe), "make a pipe") }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, lifeline, 3)
        if captureOutput { posix_spawn_file_actions_adddup2(&actions, pipe[1], 1) }
        // The signals that this process reads from a descriptor are blocked; a child starts with none blocked,
        // in a group of its own so that the terminal's Ctrl-C reaches only this process.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments + ["--lifeline", "3"]).map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var pid: pid_t = 0
        let error = posix_spawn(&pid, path, &actions, &attributes, words, environ)
        if captureOutput {
            close(pipe[1])
            output = error == 0 ? Descriptor(owning: pipe[0]) : nil
            if error != 0 { close(pipe[0]) }
            partial = []
        }
        guard error == 0 else { throw SyscallError(stage: "start \(path)", errno: error) }
        starts.append(locum_monotonic_ns())
        state = .running(pid)
    }

    /// True when it has just ended.
    mutating func reap() -> Bool {
        guard case .running(let pid) = state, waitpid(pid, &status, WNOHANG) == pid else { return false }
        state = .idle
        return true
    }

    /// False when it dies too often.
    mutating func scheduleRestart() -> Bool {
        let now = locum_monotonic_ns()
        starts.removeAll { now - $0 > 10_000_000_000 }
        guard starts.count < 5 else { return false }
        state = .waiting(until: now + UInt64(starts.count) * 100_000_000)
        return true
    }

    func signal(_ number: Int32) {
        if case .running(let pid) = state { kill(pid, number) }
    }

    /// Whole lines of its output.
    mutating func lines(adding bytes: ArraySlice<UInt8>) -> [String] {
        partial += bytes
        var lines: [String] = []
        while let end = partial.firstIndex(of: UInt8(ascii: "\n")) {
            lines.append(String(decoding: partial[..<end], as: UTF8.self))
            partial.removeSubrange(...end)
        }
        return lines
    }
}

/// Where this program was installed.
enum Installation {
    /// The folder of the running executable; its companions lie beside it.
    static var folder: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let n = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        let path = String(decoding: buffer.prefix(max(0, n)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    }

    /// The folder of a model that ships with Locum, if there is one of this name: beside an installation in
    /// `share/locum/models` (the programs may be in `lib/locum`), or in the source tree that the program was built in. `LOCUM_MODELS` goes first.
    static func model(_ name: String) -> String? {
        guard !name.contains("/"), !name.hasPrefix(".") else { return nil }
        var places = [
            folder + "/../share/locum/models", folder + "/../../share/locum/models", folder + "/../Runtime/Models",
        ]
        // A build folder lies some levels below the source tree.
        for up in ["/../..", "/../../.."] { places.append(folder + up + "/Runtime/Models") }
        if let given = getenv("LOCUM_MODELS") { places.insert(String(cString: given), at: 0) }
        return places.map { "\($0)/\(name)" }.first { access($0 + "/config.json", R_OK) == 0 }
    }
}
