// The command line, and where the daemon is found: --data, else LOCUM_DATA, else the place of this user.
import Glibc

/// What the program was asked for.
struct Options {
    struct Wrong: Error { let message: String }

    let model: String
    let ids: String
    let out: String
    let data: String

    var socket: String { "\(data)/run/invoke.sock" }

    /// - Throws: `Wrong` with what is missing or unknown.
    init(_ arguments: some Sequence<String>) throws(Wrong) {
        var named: [String: String] = [:]
        var models: [String] = []
        var iterator = arguments.makeIterator()
        while let argument = iterator.next() {
            switch argument {
            case "--ids", "--out", "--data":
                guard let value = iterator.next() else { throw Wrong(message: "\(argument) wants a value") }
                named[argument] = value
            case _ where argument.hasPrefix("-"): throw Wrong(message: "unknown option \(argument)")
            default: models.append(argument)
            }
        }
        guard models.count == 1, let ids = named["--ids"], let out = named["--out"] else {
            throw Wrong(message: "one model, --ids and --out are needed")
        }
        (model, self.ids, self.out) = (models[0], ids, out)
        data = named["--data"] ?? Self.environment("LOCUM_DATA") ?? Self.usualPlace
    }

    private static func environment(_ name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }

    private static var usualPlace: String {
        geteuid() == 0 ? "/var/lib/locum" : "\(environment("HOME") ?? "")/.local/share/locum"
    }
}
