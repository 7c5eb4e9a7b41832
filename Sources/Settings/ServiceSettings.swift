// What an administrator can set, with one name for each: --idle-timeout on a daemon's command line, LOCUM_IDLE_TIMEOUT in
// its environment, idle-timeout in its file. What is nearer to the daemon wins, in this order. `locum up` gives its daemons
// flags alone; file and environment are read with --config.
import Glibc

/// Settings of both daemons; nil is what the daemon chooses itself.
public struct ServiceSettings: Sendable, Equatable {
    /// An address to listen on.
    public struct Address: Sendable, Equatable {
        public var host: String
        public var port: Int
        public init(host: String, port: Int) { (self.host, self.port) = (host, port) }
    }

    /// Bytes that everything together may take.
    public var memory: Int?
    public var listen: Address?
    /// Whether `listen` may be an address that others than this host reach, although nothing is encrypted.
    public var insecure: Bool?
    public var idleMilliseconds: Int?
    public var keepSessionsMilliseconds: Int?
    /// How long requests under way may take when control is told to end.
    public var drainMilliseconds: Int?
    public var threads: Int?
    /// `on`, `off` or `shuffled`, which guesses wrongly on purpose, for benchmarks.
    public var prediction: String?

    public static let names = [
        "memory", "listen", "insecure", "idle-timeout", "keep-sessions", "drain-timeout", "threads", "prediction",
    ]

    public init() {}

    /// The settings of a file, and over them those of the environment.
    /// - Throws: `SettingsError` with the file's line or the variable's name.
    public static func read(_ path: String) throws(SettingsError) -> ServiceSettings {
        var settings = ServiceSettings()
        for entry in try SettingsFile.read(path) {
            guard names.contains(entry.name) else {
                throw SettingsError(
                    description: "\(path):\(entry.line): there is no setting '\(entry.name)'; there are "
                        + names.joined(separator: ", "))
            }
            try settings.set(entry.name, entry.value, place: "\(path):\(entry.line): \(entry.name)")
        }
        for name in names {
            let variable = "LOCUM_" + name.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
            guard let value = getenv(variable).map({ String(cString: $0) }), !value.isEmpty else { continue }
            try settings.set(name, value, place: variable)
        }
        return settings
    }

    /// Sets one of `names`.
    /// - Parameter place: what the error names: a flag, a variable, a file's line.
    /// - Throws: `SettingsError` when the value cannot be used.
    public mutating func set(_ name: String, _ value: String, place: String) throws(SettingsError) {
        switch name {
        case "memory":
            memory = try Self.need(
                Quantity.bytes(value), place, value, "a number of bytes, or one with K, M, G or T: 3G")
        case "listen": listen = try Self.need(Self.address(value), place, value, "HOST:PORT: 127.0.0.1:8420")
        case "insecure":
            let word: Bool? = value == "yes" ? true : value == "no" ? false : nil
            insecure = try Self.need(word, place, value, "yes or no")
        case "idle-timeout": idleMilliseconds = try Self.duration(place, value)
        case "keep-sessions": keepSessionsMilliseconds = try Self.duration(place, value)
        case "drain-timeout": drainMilliseconds = try Self.duration(place, value)
        case "threads":
            let number = Int(value).flatMap { (1...64).contains($0) ? $0 : nil }
            threads = try Self.need(number, place, value, "a number from 1 to 64")
        case "prediction":
            // A file's `on` is the word itself here: libyaml leaves it to us what words mean.
            let known = ["on", "off", "shuffled"].contains(value)
            prediction = try Self.need(known ? value : nil, place, value, "on or off")
        default: throw SettingsError(description: "\(place): there is no such setting")
        }
    }

    private static func duration(_ place: String, _ value: String) throws(SettingsError) -> Int {
        try need(Quantity.milliseconds(value), place, value, "a number with ms, s, m or h: 5s")
    }

    private static func need<T>(
        _ result: T?, _ place: String, _ value: String, _ form: String
    ) throws(SettingsError) -> T {
        guard let result else {
            throw SettingsError(description: "\(place): '\(value.prefix(100))' cannot be used; write \(form)")
        }
        return result
    }

    /// `HOST:PORT`, an IPv6 address in brackets; nil when it is none.
    private static func address(_ text: String) -> Address? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        return host.isEmpty ? nil : Address(host: host, port: Int(port))
    }
}
