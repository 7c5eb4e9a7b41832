// Reads policy files. Of minijail's syntax: `call: 1`, `call: kill-process`, `call: CONDITIONS`, each with
// `; kill-process` behind it if that is meant, `@include FILE`, `@default return ENOSYS` (the one default there is),
// comments from # to the end of the line. CONDITIONS are alternatives by ||, of conditions by &&:
//   argN == V      exactly V, as a 32-bit number: the kernel ignores the upper half of such an argument, so does the rule
//   argN in V      no bit beyond V's, of all 64; ~V means all bits but V's
//   argN & V       the bit V is set
// V is a number or a name, or several of them joined by |.
// https://google.github.io/minijail/minijail0.5

struct PolicyReader {
    let text: (String) -> [UInt8]?
    private(set) var rules: [SeccompPolicy.Rule] = []
    private var file = ""
    private var line = 0

    init(text: @escaping (String) -> [UInt8]?) { self.text = text }

    mutating func read(_ name: String) throws(PolicyError) {
        let outer = (file, line)
        (file, line) = (name, 0)
        defer { (file, line) = outer }
        guard let bytes = text(name) else { throw failure("there is no such file") }
        for raw in String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false) {
            line += 1
            let statement = trimmed(raw.prefix { $0 != "#" })
            if statement.isEmpty { continue }
            if statement.hasPrefix("@include ") {
                try read(String(trimmed(statement.dropFirst("@include ".count))))
            } else if statement.hasPrefix("@") {
                guard statement == "@default return ENOSYS" else { throw failure("unknown statement \(statement)") }
            } else {
                try rule(statement)
            }
        }
    }

    private mutating func rule(_ statement: Substring) throws(PolicyError) {
        let parts = statement.split(separator: ":", maxSplits: 1).map(trimmed)
        guard parts.count == 2, !parts[0].isEmpty else { throw failure("no `call: rule`: \(statement)") }
        let call = String(parts[0])
        let halves = parts[1].split(separator: ";", maxSplits: 1).map(trimmed)
        var action = SeccompPolicy.Action.allow
        var filter = halves[0]
        if halves.count == 2 || filter == "kill-process" {
            guard halves.last == "kill-process" else { throw failure("unknown action \(halves.last ?? "")") }
            action = .kill
            if halves.count == 1 { filter = "1" }
        }
        if filter == "1" {
            rules.append(SeccompPolicy.Rule(call: call, action: action, conditions: []))
            return
        }
        for alternative in separated(filter, by: "||") {
            var conditions: [SeccompPolicy.Condition] = []
            for text in separated(alternative, by: "&&") { conditions.append(try condition(text)) }
            rules.append(SeccompPolicy.Rule(call: call, action: action, conditions: conditions))
        }
    }

    private func condition(_ text: Substring) throws(PolicyError) -> SeccompPolicy.Condition {
        let words = text.split(separator: " ")
        guard words.count == 3, words[0].hasPrefix("arg"), let argument = UInt32(words[0].dropFirst(3)), argument < 6
        else { throw failure("no condition: \(text)") }
        let inverted = words[2].hasPrefix("~")
        let name = inverted ? words[2].dropFirst() : words[2]
        var number: UInt64 = 0
        for part in name.split(separator: "|", omittingEmptySubsequences: false) {
            guard let bits = UInt64(part) ?? PolicyConstants.values[String(part)] else {
                throw failure("unknown constant \(part)")
            }
            number |= bits
        }
        let value = inverted ? ~number : number
        switch words[1] {
        case "==": return SeccompPolicy.Condition(argument: argument, mask: 0xffff_ffff, value: value & 0xffff_ffff)
        case "in": return SeccompPolicy.Condition(argument: argument, mask: ~value, value: 0)
        case "&" where value.nonzeroBitCount == 1:
            return SeccompPolicy.Condition(argument: argument, mask: value, value: value)
        default: throw failure("unknown condition \(text)")
        }
    }

    private func failure(_ reason: String) -> PolicyError { PolicyError(file: file, line: line, reason: reason) }

    private func trimmed(_ text: Substring) -> Substring {
        var text = text
        while text.last?.isWhitespace == true { text.removeLast() }
        return text.drop(while: \.isWhitespace)
    }

    private func separated(_ text: Substring, by mark: String) -> [Substring] {
        var parts: [Substring] = []
        var rest = text
        while let at = rest.indices.first(where: { rest[$0...].hasPrefix(mark) }) {
            parts.append(trimmed(rest[..<at]))
            rest = rest[at...].dropFirst(mark.count)
        }
        return parts + [trimmed(rest)]
    }
}

/// Names that stand in the files, with the kernel's numbers (x86_64 and arm64 agree on these).
enum PolicyConstants {
    static let values: [String: UInt64] = [
        "PROT_EXEC": 4, "MREMAP_MAYMOVE": 1,
        "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_ANONYMOUS": 0x20, "MAP_NORESERVE": 0x4000, "MAP_STACK": 0x20000,
        "F_GETFL": 3, "F_SETFL": 4,
        "SOL_SOCKET": 1, "SO_RCVTIMEO": 20,
        "CLONE_THREAD": 0x10000, "PR_SET_NAME": 15,
        "FUTEX_WAIT": 0, "FUTEX_WAKE": 1, "FUTEX_WAIT_PRIVATE": 128, "FUTEX_WAKE_PRIVATE": 129,
        "FUTEX_WAIT_BITSET_PRIVATE": 137, "FUTEX_WAIT_BITSET_PRIVATE_REALTIME": 393,
    ]
}
