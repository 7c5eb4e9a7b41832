// YAML as a tree with lines: what settings and manifests are read from. libyaml itself rather than Yams, which wraps it: that
// takes all of Foundation with it, some 15 MB resident in a node that has 10.
//
// The tree is finite whatever the file says: a node that an alias names a second time is not entered again, nesting has a
// limit, and so has the file.
import CLibYAML
import Glibc
import Syscall

/// A node of a YAML document.
public struct YAML: Sendable {
    public enum Content: Sendable {
        /// A single value. `isPlain` is false for one in quotes.
        case text(String, isPlain: Bool)
        case list([YAML])
        /// In the order of the file; names may occur twice.
        case map([(name: String, line: Int, value: YAML)])
        /// What cannot be read, with why.
        case unusable(String)
    }

    /// From 1 on.
    public let line: Int
    public let content: Content

    /// `name:` with nothing behind it, `~` or `null`.
    public var isNull: Bool {
        if case .text(let text, isPlain: true) = content { ["", "~", "null"].contains(text) } else { false }
    }

    private static let longest = 1 << 20
    private static let deepest = 8

    /// The one document of a file, or of standard input for `-`; nil when there is nothing in it but comments.
    /// - Parameter what: what the file is, for messages: `the settings`.
    /// - Throws: `SettingsError` when it cannot be read, is no YAML, or holds a second document.
    public static func read(_ path: String, _ what: String) throws(SettingsError) -> YAML? {
        try parse(try contents(path, what), name: path == "-" ? "standard input" : path)
    }

    /// - Parameter name: what messages call the file.
    public static func parse(_ bytes: [UInt8], name: String) throws(SettingsError) -> YAML? {
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else { throw SettingsError("\(name): out of memory") }
        defer { yaml_parser_delete(parser) }
        // The parser reads them while documents are loaded.
        let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        defer { copy.deallocate() }
        copy.initialize(from: bytes, count: bytes.count)
        yaml_parser_set_input_string(parser, copy, bytes.count)
        guard let first = try document(parser, name) else { return nil }
        guard try document(parser, name) == nil else {
            throw SettingsError("\(name) holds a second document (after ---); put all into one")
        }
        return first
    }

    /// The next document; nil when there is none.
    private static func document(
        _ parser: UnsafeMutablePointer<yaml_parser_t>, _ name: String
    ) throws(SettingsError) -> YAML? {
        var document = yaml_document_t()
        guard yaml_parser_load(parser, &document) == 1 else {
            let problem = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
            throw SettingsError(
                "\(name):\(parser.pointee.problem_mark.line + 1): this is no YAML: \(problem); "
                    + "look at this line's indentation and quotes")
        }
        defer { yaml_document_delete(&document) }
        guard yaml_document_get_root_node(&document) != nil else { return nil }
        var seen: Set<Int32> = []
        return node(1, &document, depth: 0, &seen)
    }

    private static func node(
        _ index: Int32, _ document: inout yaml_document_t, depth: Int, _ seen: inout Set<Int32>
    ) -> YAML {
        guard let it = yaml_document_get_node(&document, index)?.pointee else {
            return YAML(line: 1, content: .unusable("is missing"))
        }
        let line = Int(it.start_mark.line) + 1
        guard seen.insert(index).inserted else {
            return YAML(line: line, content: .unusable("is an alias (*); write out what it stands for"))
        }
        guard depth <= deepest else { return YAML(line: line, content: .unusable("is nested too deeply")) }
        switch it.type {
        case YAML_SEQUENCE_NODE:
            let items = it.data.sequence.items
            return YAML(
                line: line,
                content: .list(
                    UnsafeBufferPointer(start: items.start, count: items.top - items.start).map {
                        node($0, &document, depth: depth + 1, &seen)
                    }))
        case YAML_MAPPING_NODE:
            let pairs = it.data.mapping.pairs
            var entries: [(name: String, line: Int, value: YAML)] = []
            for pair in UnsafeBufferPointer(start: pairs.start, count: pairs.top - pairs.start) {
                let key = node(pair.key, &document, depth: depth + 1, &seen)
                let value = node(pair.value, &document, depth: depth + 1, &seen)
                guard case .text(let name, _) = key.content else {
                    return YAML(line: key.line, content: .unusable("has a name that is no word"))
                }
                entries.append((name, key.line, value))
            }
            return YAML(line: line, content: .map(entries))
        default:
            let scalar = it.data.scalar
            let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            return YAML(line: line, content: .text(text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE))
        }
    }

    private static func contents(_ path: String, _ what: String) throws(SettingsError) -> [UInt8] {
        do throws(SyscallError) {
            let raw = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC)
            let file = Descriptor(owning: try check(raw, "open \(path)"))
            var bytes: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 16_384)
            while case let got = try check(Glibc.read(file.raw, &part, part.count), "read \(path)"), got > 0 {
                bytes += part[..<got]
                guard bytes.count <= longest else {
                    throw SyscallError(stage: "read \(path), longer than \(longest) bytes", errno: EFBIG)
                }
            }
            return bytes
        } catch {
            throw SettingsError("\(what) cannot be read: \(error)")
        }
    }
}
