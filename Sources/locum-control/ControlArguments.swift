// What `locum up` gives control. Not for people, so it is read strictly and without a library.
import Glibc

struct ControlArguments: Sendable {
    struct Unusable: Error, CustomStringConvertible { let description: String }

    var data = ""
    var host = "127.0.0.1"
    var port = 8420
    /// nil: learned from each function's calls.
    var idleMilliseconds: Int?
    var keepSessionsMilliseconds = 0
    var threads = 1
    var lifeline: Int32 = -1
    /// Not to serve, but to repair the registry: `text` or `json` says how the report is to look.
    var repair: String?

    var adminSocket: String { data + "/run/admin.sock" }
    var hostInURL: String { host.contains(":") ? "[\(host)]" : host }

    init(_ words: [String]) throws(Unusable) {
        var rest = words.dropFirst()
        while let word = rest.popFirst() {
            guard let value = rest.popFirst() else { throw Unusable(description: "\(word) needs a value") }
            switch word {
            case "--data": data = value
            case "--listen": try listen(value)
            case "--idle-timeout-ms": idleMilliseconds = try Self.number(word, value, 0...1_000_000_000_000)
            case "--keep-sessions-ms": keepSessionsMilliseconds = try Self.number(word, value, 0...1_000_000_000_000)
            case "--threads": threads = try Self.number(word, value, 1...64)
            case "--repair":
                guard ["text", "json"].contains(value) else { throw Unusable(description: "--repair text or json") }
                repair = value
            case "--lifeline": lifeline = Int32(try Self.number(word, value, 3...65_535))
            default: throw Unusable(description: "unknown option \(word)")
            }
        }
        guard !data.isEmpty else { throw Unusable(description: "--data is needed") }
    }

    private mutating func listen(_ value: String) throws(Unusable) {
        guard let colon = value.lastIndex(of: ":") else {
            throw Unusable(description: "--listen \(value): write HOST:PORT")
        }
        host = String(value[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        port = try Self.number("--listen", String(value[value.index(after: colon)...]), 0...65_535)
    }

    private static func number(_ word: String, _ value: String, _ range: ClosedRange<Int>) throws(Unusable) -> Int {
        guard let number = Int(value), range.contains(number) else {
            throw Unusable(
                description: "\(word) \(value): must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }
}
