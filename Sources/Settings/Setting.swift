// The table of what an administrator can set. Each has one name: --idle-timeout on a command line, LOCUM_IDLE_TIMEOUT in the
// environment, idle-timeout in the file. Daemons, `locum up` and `locum config` all read it here, and nowhere is a second list.

/// One thing that can be set.
public struct Setting: Sendable {
    /// Whose it is: only that daemon says when it changes.
    public enum Daemon: String, Sendable {
        case node = "locum-node"
        case control = "locum-control"
    }

    public let name: String
    public let daemon: Daemon
    /// What the daemon does without it: a value, or in words how it chooses one.
    public let standard: String
    /// Whether a daemon that is told to read its settings again (SIGHUP) can change it.
    public let isReloadable: Bool
    /// What to write, for messages.
    let form: String
    let isUsable: @Sendable (String) -> Bool

    /// `LOCUM_IDLE_TIMEOUT`.
    public var variable: String { "LOCUM_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined() }

    public static let all = [
        Setting(
            name: "memory", daemon: .node,
            standard: "the cgroup's limit less a margin, or four fifths of the machine's memory", isReloadable: false,
            form: "a number of bytes, or one with K, M, G or T: 3G", isUsable: { Quantity.bytes($0) != nil }),
        Setting(
            name: "listen", daemon: .control, standard: "127.0.0.1:8420", isReloadable: false,
            form: "HOST:PORT: 127.0.0.1:8420", isUsable: { ServiceSettings.Address($0) != nil }),
        .file("tls-certificate"), .file("tls-key"),
        .choice("insecure", .control, ["yes", "no"], standard: "no", isReloadable: false, form: "yes or no"),
        .duration("idle-timeout", standard: "learned from each function's own calls, 30s as long as nothing is known"),
        .duration("keep-sessions", standard: "as long as any function"),
        .duration("drain-timeout", standard: "30s"),
        Setting(
            name: "threads", daemon: .control, standard: "one per CPU", isReloadable: false,
            form: "a number from 1 to 64", isUsable: { Int($0).map((1...64).contains) ?? false }),
        // `shuffled` guesses wrongly on purpose: benchmarks measure with it what a useless predictor costs.
        .choice("prediction", .node, ["on", "off", "shuffled"], standard: "on", isReloadable: true, form: "on or off"),
    ]

    /// The setting of that name; nil when there is none.
    public static func named(_ name: some StringProtocol) -> Setting? { all.first { $0.name == name } }

    private static func duration(_ name: String, standard: String) -> Setting {
        Setting(
            name: name, daemon: .control, standard: standard, isReloadable: true,
            form: "a number with ms, s, m or h: 5s", isUsable: { Quantity.milliseconds($0) != nil })
    }

    private static func choice(
        _ name: String, _ daemon: Daemon, _ words: [String], standard: String, isReloadable: Bool, form: String
    ) -> Setting {
        Setting(
            name: name, daemon: daemon, standard: standard, isReloadable: isReloadable, form: form,
            isUsable: { words.contains($0) })
    }

    private static func file(_ name: String) -> Setting {
        Setting(
            name: name, daemon: .control, standard: "no TLS", isReloadable: true,
            form: "a file's path from / on: /etc/locum/tls/\(name.dropFirst(4)).pem", isUsable: { $0.hasPrefix("/") })
    }
}
