// The settings of the daemons as options of a command. Help is what the option says; what a value may be says the table
// (Settings), and a test holds that no setting is missing here.
import ArgumentParser
import Settings

/// Settings on a command line.
struct SettingOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Address of the HTTP API; port 0 picks a free one. Default: 127.0.0.1:8420.", valueName: "host:port"))
    var listen: String?
    @Option(
        help: ArgumentHelp(
            "PEM file with the certificate, and those that it was signed with, for HTTPS.", valueName: "file"),
        completion: .file())
    var tlsCertificate: String?
    @Option(help: ArgumentHelp("PEM file with its key.", valueName: "file"), completion: .file())
    var tlsKey: String?
    @Flag(
        help: ArgumentHelp(
            "Listen on an address that other hosts reach, although requests, answers and keys can be read on the way or "
                + "no key is needed."))
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
    @Option(
        help: ArgumentHelp(
            "Read experts ahead by guesses of the next layer: on, off. Default: on.", valueName: "mode"))
    var prediction: String?
    @Option(
        help: ArgumentHelp("Compute threads per router and lanes per function; default: one per CPU.", valueName: "n"))
    var threads: Int?

    /// Those that were given, by the settings' names.
    var given: [(name: String, value: String)] {
        let all: [(String, String?)] = [
            ("memory", memory), ("listen", listen), ("tls-certificate", tlsCertificate.map(DataFolder.absolute)),
            ("tls-key", tlsKey.map(DataFolder.absolute)), ("insecure", insecure ? "yes" : nil),
            ("idle-timeout", idleTimeout), ("keep-sessions", keepSessions), ("threads", threads.map { "\($0)" }),
            ("prediction", prediction),
        ]
        return all.compactMap { name, value in value.map { (name: name, value: $0) } }
    }

    func validate() throws { for (name, value) in given { try Self.check(name, value) } }

    /// - Throws: `ValidationError` when a setting cannot have that value.
    static func check(_ name: String, _ value: String) throws {
        var settings = ServiceSettings()
        do throws(SettingsError) { try settings.set(name, value, .flag("--\(name)")) } catch {
            throw ValidationError(error.description)
        }
    }
}
