// `locum up`: node and control in the foreground with a data folder of their own. This process only watches:
// it holds the folder's lock and the write end of a pipe, starts both daemons, starts one again that died,
// and ends them when it is told to. When it is killed outright the pipe closes and they end by themselves.
import ArgumentParser
import CLinux
import Glibc
import Settings
import Syscall

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run Locum in the foreground.",
        discussion: """
            Prints one line that begins with `ready` and holds the URL. Ctrl-C or SIGTERM ends it and everything
            it started. A daemon that dies is started again.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Option(help: ArgumentHelp("Address of the HTTP API; port 0 picks a free one.", valueName: "host:port"))
    var listen = "127.0.0.1:8420"
    @Flag(
        help: "Listen on an address that other hosts reach, although requests, answers and keys can be read on the way."
    )
    var insecure = false
    @Option(
        help: ArgumentHelp(
            "Evict a function after this long without a call (500ms, 5s, 2m); default: learned from each function's "
                + "own calls, 30s as long as nothing is known.", valueName: "time"))
    var idleTimeout: String?
    @Option(
        help: ArgumentHelp(
            "Keep a model's router, and with it what it has read of its conversations, at least this long after a "
                + "request (10m, 1h); default: as long as any function.", valueName: "time"))
    var keepSessions: String?
    @Option(
        help: ArgumentHelp(
            "Memory that everything together may take (512M, 3G, bytes); default: the cgroup's limit less a margin, "
                + "or four fifths of the host's memory.", valueName: "size"))
    var memory: String?
    @Option(help: ArgumentHelp("Read experts ahead by guesses of the next layer: on, off.", valueName: "mode"))
    var prediction = "on"
    @Option(
        help: ArgumentHelp("Compute threads per router and lanes per function; default: one per CPU.", valueName: "n"))
    var threads: Int?

    /// One per CPU, as far as workers can have them.
    static var standardThreads: Int { max(1, min(Int(locum_allowed_cpus(nil, 0)), 64)) }

    func validate() throws {
        if let idleTimeout, Quantity.milliseconds(idleTimeout) == nil {
            throw ValidationError("--idle-timeout \(idleTimeout): write a number with ms, s, m or h, like 5s.")
        }
        if let keepSessions, Quantity.milliseconds(keepSessions) == nil {
            throw ValidationError("--keep-sessions \(keepSessions): write a number with ms, s, m or h, like 10m.")
        }
        if let memory, Quantity.bytes(memory) == nil {
            throw ValidationError("--memory \(memory): write a number of bytes, or one with K, M, G or T, like 3G.")
        }
        // `shuffled` guesses wrongly on purpose: benchmarks measure with it what a useless predictor costs.
        guard ["on", "off", "shuffled"].contains(prediction) else {
            throw ValidationError("--prediction \(prediction): must be on or off.")
        }
        if let threads, !(1...64).contains(threads) {
            throw ValidationError("--threads \(threads): must be between 1 and 64.")
        }
        try Self.check(listen: listen)
    }

    /// - Throws: `ValidationError` unless it is a host and a port.
    static func check(listen: String) throws {
        guard let colon = listen.lastIndex(of: ":"), UInt16(listen[listen.index(after: colon)...]) != nil else {
            throw ValidationError("--listen \(listen): write HOST:PORT, like 127.0.0.1:8420.")
        }
    }

    func run() throws {
        try reporting {
            let folder = daemon.folder
            let lock = try FolderLock.take(folder)
            var supervisor = try Supervisor(
                folder: folder, listen: listen, insecure: insecure,
                idleMilliseconds: idleTimeout.flatMap(Quantity.milliseconds),
                keepMilliseconds: keepSessions.flatMap(Quantity.milliseconds), threads: threads ?? Self.standardThreads,
                memory: memory.flatMap(Quantity.bytes), prediction: prediction)
            let code = try withExtendedLifetime(lock) { try supervisor.run() }
            throw ExitCode(code)
        }
    }
}
