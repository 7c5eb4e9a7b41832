// The settings' file as pairs of a name and a value with the lines they stand in. libyaml itself rather than Yams, which
// wraps it: that takes all of Foundation with it, some 15 MB resident in a node that has 10.
import CLibYAML
import Glibc
import Syscall

/// A setting that cannot be used: where it stands, what is wrong with it and what would do.
public struct SettingsError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// One line of the file.
struct SettingsEntry {
    let name: String
    let value: String
    let line: Int
}

enum SettingsFile {
    private static let longest = 1 << 20

    /// The entries of a YAML file, which must be a mapping of names to single values; one without a value is left out.
    static func read(_ path: String) throws(SettingsError) -> [SettingsEntry] {
        let bytes = try contents(path)
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else { throw SettingsError(description: "\(path): out of memory") }
        defer { yaml_parser_delete(parser) }
        // The parser reads them while documents are loaded.
        let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, bytes.count))
        defer { copy.deallocate() }
        copy.initialize(from: bytes, count: bytes.count)
        yaml_parser_set_input_string(parser, copy, bytes.count)
        let entries = try document(parser, path) ?? []
        guard try document(parser, path) == nil else {
            throw SettingsError(description: "\(path) holds a second document (after ---); put all settings into one")
        }
        return entries
    }

    /// The next document's entries; nil when there is none.
    private static func document(
        _ parser: UnsafeMutablePointer<yaml_parser_t>, _ path: String
    ) throws(SettingsError) -> [SettingsEntry]? {
        var document = yaml_document_t()
        guard yaml_parser_load(parser, &document) == 1 else {
            let problem = parser.pointee.problem.map { String(cString: $0) } ?? "it cannot be read"
            throw SettingsError(
                description: "\(path):\(parser.pointee.problem_mark.line + 1): this is no YAML: \(problem); "
                    + "write lines like `memory: 3G`")
        }
        defer { yaml_document_delete(&document) }
        guard let root = yaml_document_get_root_node(&document)?.pointee else { return nil }
        // A file of comments alone.
        if root.type == YAML_SCALAR_NODE, root.data.scalar.length == 0 { return [] }
        guard root.type == YAML_MAPPING_NODE else {
            throw SettingsError(
                description:
                    "\(path):\(root.start_mark.line + 1): settings are lines like `memory: 3G`, not a list or text")
        }
        let pairs = root.data.mapping.pairs
        var entries: [SettingsEntry] = []
        for pair in UnsafeBufferPointer(start: pairs.start, count: pairs.top - pairs.start) {
            guard let key = yaml_document_get_node(&document, pair.key)?.pointee,
                let value = yaml_document_get_node(&document, pair.value)?.pointee
            else { continue }
            let line = Int(key.start_mark.line) + 1
            guard let name = text(key), let word = text(value) else {
                throw SettingsError(
                    description: "\(path):\(line): \(text(key) ?? "a name") must have one value, like `memory: 3G`")
            }
            if let before = entries.first(where: { $0.name == name }) {
                throw SettingsError(
                    description: "\(path):\(line): \(name) stands in line \(before.line) already; remove one of them")
            }
            if !word.isEmpty && word != "~" && word != "null" {
                entries.append(SettingsEntry(name: name, value: word, line: line))
            }
        }
        return entries
    }

    private static func text(_ node: yaml_node_t) -> String? {
        guard node.type == YAML_SCALAR_NODE else { return nil }
        let scalar = node.data.scalar
        return String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
    }

    private static func contents(_ path: String) throws(SettingsError) -> [UInt8] {
        do throws(SyscallError) {
            let file = Descriptor(owning: try check(open(path, O_RDONLY | O_CLOEXEC), "open \(path)"))
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
            throw SettingsError(description: "the settings cannot be read: \(error)")
        }
    }
}
