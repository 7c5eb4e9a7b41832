// Watches node and control: one loop over signals, the daemons' ends and control's first line. A daemon that
// dies is started again; one that dies five times within ten seconds is given up, with its name.
import CLinux
import Glibc
import Settings
import Syscall

/// Runs the two daemons of one data folder.
struct Supervisor {
    private let folder: String
    /// As asked for; with the port that control chose once it is up, so that a restart keeps it.
    private var settings: SettingsSource
    /// Whose terminal is gone ends; where there is none, SIGHUP means what it does to daemons: settings are read again.
    private let hasTerminal: Bool
    private let signals: Descriptor
    private let epoll: Epoll
    /// Only this process holds the write end: when it goes, however it goes, the daemons see the end of file.
    private let lifeline: (read: Descriptor, write: Descriptor)
    private var node: Child
    private var control: Child
    private var announced = false

    private enum Token {
        static let signals: UInt64 = 1
        static let output: UInt64 = 2
    }

    init(folder: String, settings: SettingsSource) throws {
        (self.folder, self.settings) = (folder, settings)
        let terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
        hasTerminal = terminal >= 0
        if terminal >= 0 { close(terminal) }
        // If this is somebody's service, its manager is not to hear of the daemons.
        unsetenv("NOTIFY_SOCKET")
        let watched: [Int32] = [SIGTERM, SIGINT, SIGHUP, SIGCHLD]
        signals = Descriptor(owning: try check(locum_signal_descriptor(watched, Int32(watched.count)), "watch signals"))
        epoll = try Epoll()
        var ends: [Int32] = [-1, -1]
        try check(locum_pipe(&ends), "make a pipe")
        lifeline = (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
        node = Child(program: "locum-node")
        control = Child(program: "locum-control")
    }

    /// Returns the exit code once everything has ended.
    mutating func run() throws -> Int32 {
        try epoll.add(signals.raw, token: Token.signals)
        try startNode()
        try startControl()
        while true {
            for event in try epoll.wait(timeoutMilliseconds: nextRestart()) {
                if event.token == Token.output { try readOutput() }
                if event.token == Token.signals {
                    while case let signal = locum_signal_read(signals.raw), signal != 0 {
                        switch signal {
                        case SIGCHLD: break
                        case SIGHUP where !hasTerminal:
                            node.signal(SIGHUP)
                            control.signal(SIGHUP)
                        default: return stop(code: 0)
                        }
                    }
                }
            }
            if node.reap(), let code = died(&node) { return stop(code: code) }
            if control.reap(), let code = died(&control) { return stop(code: code) }
            let now = locum_monotonic_ns()
            if node.isDue(now) { try startNode() }
            if control.isDue(now) { try startControl() }
        }
    }

    /// Both daemons get all settings, and take their own.
    private var words: [String] {
        ["--data", folder] + (settings.file.map { ["--config", $0] } ?? [])
            + settings.flags.flatMap { ["--\($0.name)", $0.value] }
    }

    private mutating func startNode() throws { try node.start(words, lifeline: lifeline.read.raw) }

    private mutating func startControl() throws {
        try control.start(words, lifeline: lifeline.read.raw, captureOutput: true)
        if let output = control.output { try epoll.add(output.raw, token: Token.output) }
    }

    /// Control says `listening URL` when it serves; that is the moment to say `ready`.
    private mutating func readOutput() throws {
        guard let output = control.output else { return }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let n = read(output.raw, &bytes, bytes.count)
        guard n > 0 else {
            epoll.remove(output.raw)
            control.output = nil
            return
        }
        for line in control.lines(adding: bytes.prefix(n)) {
            guard line.hasPrefix("listening "), case let url = String(line.dropFirst("listening ".count)) else {
                continue
            }
            if let address = url.split(separator: "/").last {
                settings.flags.removeAll { $0.name == "listen" }
                settings.flags.append(("listen", String(address)))
            }
            if announced {
                complain("locum-control is back at \(url)")
            } else {
                announced = true
                write(text: "ready \(url)\n")
                if isEmptyRegistry() {
                    complain("no model is deployed yet; try: locum deploy tales-moe\(dataHint)")
                }
                // From here on this process only waits.
                locum_give_back()
            }
        }
    }

    private var dataHint: String { folder == DataFolder.standard ? "" : " --data \(folder)" }

    private func isEmptyRegistry() -> Bool {
        guard let folder = opendir(folder + "/shards") else { return true }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let first = entry.pointee.d_name.0
            if first != CChar(UInt8(ascii: ".")) { return false }
        }
        return true
    }

    /// Nil: it will be started again. Otherwise the exit code to end with.
    private func died(_ child: inout Child) -> Int32? {
        if !announced && child.endedByItself {
            complain("\(child.program) could not start (\(child.ending)); its message stands above")
            return Code.failed
        }
        guard child.scheduleRestart() else {
            complain("\(child.program) died five times within ten seconds (\(child.ending)); giving up")
            return Code.failed
        }
        complain("\(child.program) ended (\(child.ending)); starting it again")
        return nil
    }

    private func nextRestart() -> Int32 {
        let due = [node.restartAt, control.restartAt].compactMap { $0 }.min()
        guard let due else { return -1 }
        let now = locum_monotonic_ns()
        return due <= now ? 0 : Int32((due - now) / 1_000_000 + 1)
    }

    /// Asks both to end, and kills one that takes too long or when it is told to end once more. Node has more time than it
    /// takes the kernel to end some thousand workers on a busy machine.
    private mutating func stop(code: Int32) -> Int32 {
        control.signal(SIGTERM)
        node.signal(SIGTERM)
        let begun = locum_monotonic_ns()
        while node.isRunning || control.isRunning {
            _ = node.reap()
            _ = control.reap()
            var isUrgent = false
            while case let signal = locum_signal_read(signals.raw), signal != 0 {
                if signal == SIGTERM || signal == SIGINT { isUrgent = true }
            }
            let took = locum_monotonic_ns() - begun
            if isUrgent || took > 1_500_000_000 { control.signal(SIGKILL) }
            if isUrgent || took > 10_000_000_000 { node.signal(SIGKILL) }
            usleep(5_000)
        }
        for name in ["admin", "invoke", "node"] { unlink("\(folder)/run/\(name).sock") }
        return code
    }
}
