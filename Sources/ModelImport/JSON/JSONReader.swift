// A pull reader for the JSON of models. A library's decoder would build a tree first, of any size that a
// hostile file likes, keep the last of two equal keys, and know no byte offset to report; here callers walk
// through, keep what they want and skip the rest, equal keys are an error, and every fault has its place.

/// Reads one JSON text from front to back.
struct JSONReader {
    enum Kind: String {
        case object = "an object"
        case array = "an array"
        case string = "a string"
        case number = "a number"
        case bool = "true or false"
        case null
    }

    let file: String
    let bytes: [UInt8]
    /// Index of the next byte.
    var at = 0
    private var depth = 0
    private var path: [String] = []
    private static let deepest = 64
    /// Keys of the objects that are open, which are kept to find one that stands twice.
    private var openKeys = 0
    /// More than any vocabulary has; without it a file of a hundred megabytes takes several times as much memory.
    var mostKeys = 1 << 21

    init(file: String, bytes: [UInt8]) { (self.file, self.bytes) = (file, bytes) }

    /// Reads the one value that the text holds; only blanks may follow.
    mutating func document(_ body: (inout JSONReader) throws(ImportError) -> Void) throws(ImportError) {
        try body(&self)
        skipBlanks()
        guard at == bytes.count else { throw broken("something follows the end of the value") }
    }

    /// What comes next.
    mutating func kind() throws(ImportError) -> Kind {
        skipBlanks()
        guard at < bytes.count else { throw broken("the text ends too early") }
        switch bytes[at] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        default: throw broken("unexpected character")
        }
    }

    /// Reads an object; `body` must read (or skip) the value of each key.
    mutating func object(
        _ body: (inout JSONReader, String) throws(ImportError) -> Void
    ) throws(ImportError) {
        try expect(.object)
        try enter()
        var seen: Set<ExactText> = []
        while try !ends(UInt8(ascii: "}"), first: seen.isEmpty) {
            guard try kind() == .string else { throw broken("a key in quotation marks is missing") }
            let start = at
            let key = try string()
            guard seen.insert(ExactText(text: key)).inserted else {
                at = start
                throw broken("the key \"\(key.prefix(80))\" stands twice")
            }
            skipBlanks()
            guard at < bytes.count, bytes[at] == UInt8(ascii: ":") else { throw broken("a colon is missing") }
            at += 1
            openKeys += 1
            guard openKeys <= mostKeys else {
                throw ImportError(.tooLarge, "\(place): more than \(mostKeys) keys in one object; the file is damaged")
            }
            path.append(key)
            try body(&self, key)
            path.removeLast()
        }
        openKeys -= seen.count
        depth -= 1
    }

    /// Reads an array; `body` must read (or skip) each element.
    mutating func array(_ body: (inout JSONReader) throws(ImportError) -> Void) throws(ImportError) {
        try expect(.array)
        try enter()
        var first = true
        while try !ends(UInt8(ascii: "]"), first: first) {
            first = false
            try body(&self)
        }
        depth -= 1
    }

    /// Reads any value and forgets it.
    mutating func skip() throws(ImportError) {
        switch try kind() {
        case .object: try object { r, _ throws(ImportError) in try r.skip() }
        case .array: try array { r throws(ImportError) in try r.skip() }
        case .string: _ = try string()
        case .number: _ = try numberText()
        case .bool: _ = try bool()
        case .null: _ = try null()
        }
    }

    /// Reads `null` if it comes next.
    mutating func null() throws(ImportError) -> Bool {
        guard try kind() == .null else { return false }
        try literal("null")
        return true
    }

    mutating func bool() throws(ImportError) -> Bool {
        try expect(.bool)
        let value = bytes[at] == UInt8(ascii: "t")
        try literal(value ? "true" : "false")
        return value
    }

    /// - Throws: `ImportError(.badConfig)` when another kind of value comes next.
    func wrong(_ wanted: String, _ found: String) -> ImportError {
        ImportError(.badConfig, "\(place): \(wanted) was expected, but there is \(found)")
    }

    func broken(_ why: String) -> ImportError {
        ImportError(.badJSON, "\(place): \(why); this is not valid JSON, copy or download the file again")
    }

    /// File, byte and key, for messages.
    var place: String {
        path.isEmpty ? "\(file), byte \(at)" : "\(file), byte \(at), key \(path.suffix(4).joined(separator: "."))"
    }

    mutating func expect(_ wanted: Kind) throws(ImportError) {
        let found = try kind()
        guard found == wanted else { throw wrong(wanted.rawValue, found.rawValue) }
    }

    mutating func skipBlanks() {
        while at < bytes.count {
            switch bytes[at] {
            case 0x20, 0x0A, 0x0D, 0x09: at += 1
            default: return
            }
        }
    }

    private mutating func enter() throws(ImportError) {
        depth += 1
        guard depth <= Self.deepest else { throw broken("nested deeper than \(Self.deepest)") }
        at += 1
    }

    /// Steps over the comma before the next element, or over the closing bracket.
    private mutating func ends(_ close: UInt8, first: Bool) throws(ImportError) -> Bool {
        skipBlanks()
        guard at < bytes.count else { throw broken("the text ends too early") }
        if bytes[at] == close {
            at += 1
            return true
        }
        if first { return false }
        guard bytes[at] == UInt8(ascii: ",") else { throw broken("a comma is missing") }
        at += 1
        skipBlanks()
        return false
    }

    private mutating func literal(_ word: String) throws(ImportError) {
        guard bytes[at...].starts(with: word.utf8) else { throw broken("unexpected word") }
        at += word.utf8.count
    }
}

/// A text that equals only the same bytes; Swift's own strings also equal their decomposed form.
struct ExactText: Hashable {
    let text: String

    static func == (a: ExactText, b: ExactText) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}
