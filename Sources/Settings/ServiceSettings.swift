// The settings of both daemons as they were given. What is nearer to the daemon wins: a flag over the environment over the
// file over what the daemon does by itself.
import Glibc

/// Settings, each with its origin; one that was not given is the daemon's own choice.
public struct ServiceSettings: Sendable {
    /// An address to listen on.
    public struct Address: Sendable, Equatable {
        public var host: String
        public var port: Int

        /// `HOST:PORT`, an IPv6 address in brackets; nil when it is none.
        public init?(_ text: String) {
            guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
                return nil
            }
            var host = String(text[..<colon])
            if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
            guard !host.isEmpty else { return nil }
            (self.host, self.port) = (host, Int(port))
        }
    }

    /// Where a setting was given.
    public enum Origin: Sendable, Equatable, CustomStringConvertible {
        case file(String, line: Int)
        case variable(String)
        case flag(String)

        public var description: String {
            switch self {
            case .file(let path, let line): "\(path):\(line)"
            case .variable(let name): name
            case .flag(let name): name
            }
        }
    }

    private var given: [String: (text: String, origin: Origin)] = [:]

    public init() {}

    /// The settings of a file, if one is named, and over them those of the environment.
    /// - Throws: `SettingsError` with all that is wrong.
    public static func read(_ path: String?) throws(SettingsError) -> ServiceSettings {
        try read(path) { getenv($0).map { String(cString: $0) } }
    }

    /// The same with a variable's value as `environment` has it.
    public static func read(
        _ path: String?, environment: (String) -> String?
    ) throws(SettingsError) -> ServiceSettings {
        var settings = ServiceSettings()
        var problems: [String] = []
        func set(_ name: String, _ value: String, _ origin: Origin) {
            do throws(SettingsError) { try settings.set(name, value, origin) } catch { problems += error.problems }
        }
        if let path {
            let file = try SettingsFile.read(path)
            problems += file.problems
            for entry in file.entries { set(entry.name, entry.value, .file(path, line: entry.line)) }
        }
        for setting in Setting.all {
            guard let value = environment(setting.variable), !value.isEmpty else { continue }
            set(setting.name, value, .variable(setting.variable))
        }
        guard problems.isEmpty else { throw SettingsError(problems) }
        return settings
    }

    /// Gives a setting its value.
    /// - Throws: `SettingsError` when there is no such setting or the value cannot be used; nothing is changed then.
    public mutating func set(_ name: String, _ value: String, _ origin: Origin) throws(SettingsError) {
        guard let setting = Setting.named(name) else {
            throw SettingsError(
                "\(origin): there is no setting '\(name.prefix(100))'; there are "
                    + Setting.all.map(\.name).joined(separator: ", "))
        }
        guard setting.isUsable(value) else {
            let place = if case .file = origin { "\(origin): \(name)" } else { "\(origin)" }
            throw SettingsError("\(place): '\(value.prefix(100))' cannot be used; write \(setting.form)")
        }
        given[name] = (value, origin)
    }

    /// Settings that do not go together.
    /// - Throws: `SettingsError`.
    public func check() throws(SettingsError) {
        for (one, other) in [("tls-certificate", "tls-key"), ("tls-key", "tls-certificate")] {
            if let origin = origin(one), self[other] == nil {
                throw SettingsError("\(origin): \(one) is set and \(other) is not; TLS takes both")
            }
        }
    }

    /// The value as it was given; nil when it was not.
    public subscript(name: String) -> String? { given[name]?.text }

    /// Where it was given; nil when it was not.
    public func origin(_ name: String) -> Origin? { given[name]?.origin }

    // MARK: As the daemons read them; nil is a choice of their own

    /// Bytes that everything together may take.
    public var memory: Int? { self["memory"].flatMap(Quantity.bytes) }
    public var listen: Address? { self["listen"].flatMap { Address($0) } }
    /// Whether `listen` may be an address that others than this host reach, although nothing is encrypted or no key is needed.
    public var isInsecure: Bool { self["insecure"] == "yes" }
    public var idleMilliseconds: Int? { self["idle-timeout"].flatMap(Quantity.milliseconds) }
    public var keepSessionsMilliseconds: Int { self["keep-sessions"].flatMap(Quantity.milliseconds) ?? 0 }
    /// How long requests under way may take when control is told to end.
    public var drainMilliseconds: Int { self["drain-timeout"].flatMap(Quantity.milliseconds) ?? 30_000 }
    public var threads: Int? { self["threads"].flatMap { Int($0) } }
    public var prediction: String { self["prediction"] ?? "on" }
    /// Paths of PEM files; nil without TLS.
    public var tls: (certificate: String, key: String)? {
        guard let certificate = self["tls-certificate"], let key = self["tls-key"] else { return nil }
        return (certificate, key)
    }
}

extension ServiceSettings {
    /// Takes over what a daemon may change while it runs; everything else stays as it is until it is started again.
    /// - Returns: what has changed, in words for the log.
    public mutating func take(_ new: ServiceSettings, for daemon: Setting.Daemon) -> [String] {
        // A listener speaks TLS from its start or never.
        let switchesTLS = (tls == nil) != (new.tls == nil)
        var words: [String] = []
        for setting in Setting.all where setting.daemon == daemon {
            let (old, value) = (self[setting.name], new[setting.name])
            guard old != value else { continue }
            let change = "\(setting.name) was \(old ?? setting.standard), is \(value ?? setting.standard)"
            if setting.isReloadable && !(switchesTLS && setting.name.hasPrefix("tls-")) {
                given[setting.name] = new.given[setting.name]
                words.append(change)
            } else {
                words.append("\(change): that takes a restart of \(daemon.rawValue)")
            }
        }
        return words
    }
}
