// YAML as a tree with lines: what settings and manifests are read from. libyaml itself rather than Yams, which wraps it: that
// takes all of Foundation with it, some 15 MB resident in a node that has 10.
//
// The tree is not larger than the file, whatever that says: aliases are not followed, nesting has a limit, and so has the file.
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
        // The parser reads them as events are asked for.
        let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        defer { copy.deallocate() }
        copy.initialize(from: bytes, count: bytes.count)
        yaml_parser_set_input_string(parser, copy, bytes.count)
        let events = Events(parser: parser, name: name)
        guard case .document = try events.next().event else { return nil }
        let (event, line) = try events.next()
        let root = try events.node(event, line, depth: 0)
        _ = try events.next()
        guard case .nothing = try events.next().event else {
            throw SettingsError("\(name) holds a second document (after ---); put all into one")
        }
        return root
    }

    /// What libyaml finds, one after another. Not its documents: building one of many brackets or anchors takes time that
    /// grows with their square.
    private struct Events {
        enum Event {
            case document
            case text(String, isPlain: Bool)
            case list
            case map
            case alias
            case end
            /// Of everything.
            case nothing
        }

        let parser: UnsafeMutablePointer<yaml_parser_t>
        let name: String

        func next() throws(SettingsError) -> (event: Event, line: Int) {
            var event = yaml_event_t()
            guard yaml_parser_parse(parser, &event) == 1 else {
                let problem = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
                throw SettingsError(
                    "\(name):\(parser.pointee.problem_mark.line + 1): this is no YAML: \(problem); "
                        + "look at this line's indentation and quotes")
            }
            defer { yaml_event_delete(&event) }
            let line = Int(event.start_mark.line) + 1
            switch event.type {
            case YAML_STREAM_START_EVENT: return try next()
            case YAML_DOCUMENT_START_EVENT: return (.document, line)
            case YAML_SCALAR_EVENT:
                let scalar = event.data.scalar
                let text = String(
                    decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
                return (.text(text, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE), line)
            case YAML_SEQUENCE_START_EVENT: return (.list, line)
            case YAML_MAPPING_START_EVENT: return (.map, line)
            case YAML_ALIAS_EVENT: return (.alias, line)
            case YAML_STREAM_END_EVENT, YAML_NO_EVENT: return (.nothing, line)
            default: return (.end, line)
            }
        }

        /// The node that an event begins.
        func node(_ event: Event, _ line: Int, depth: Int) throws(SettingsError) -> YAML {
            guard depth <= deepest else {
                throw SettingsError("\(name):\(line): this is nested more than \(deepest) deep; write it flatter")
            }
            switch event {
            case .text(let text, let isPlain): return YAML(line: line, content: .text(text, isPlain: isPlain))
            case .list: return YAML(line: line, content: .list(try items(depth)))
            case .map: return YAML(line: line, content: try members(depth))
            case .alias:
                return YAML(line: line, content: .unusable("is an alias (*); write out what it stands for"))
            case .document, .end, .nothing:
                throw SettingsError("\(name):\(line): this is no YAML: something is missing")
            }
        }

        private func items(_ depth: Int) throws(SettingsError) -> [YAML] {
            var items: [YAML] = []
            while true {
                let (event, line) = try next()
                if case .end = event { return items }
                items.append(try node(event, line, depth: depth + 1))
            }
        }

        private func members(_ depth: Int) throws(SettingsError) -> Content {
            var members: [(name: String, line: Int, value: YAML)] = []
            var isUsable = true
            while true {
                let (event, line) = try next()
                if case .end = event { break }
                let key = try node(event, line, depth: depth + 1)
                let (value, at) = try next()
                let member = try node(value, at, depth: depth + 1)
                if case .text(let name, _) = key.content {
                    members.append((name, line, member))
                } else {
                    isUsable = false
                }
            }
            return isUsable ? .map(members) : .unusable("has a name that is no word")
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
