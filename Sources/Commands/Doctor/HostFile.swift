// Small files of /proc and /sys. A container, an old kernel or a hardened host may lack any of them, so each answer may
// be missing.
import Glibc
import Syscall

/// What the kernel says in files.
enum HostFile {
    /// The text without its last newline; nil when it cannot be read.
    static func text(_ path: String) -> String? {
        let raw = open(path, O_RDONLY | O_CLOEXEC)
        guard raw >= 0 else { return nil }
        let file = Descriptor(owning: raw)
        var (bytes, buffer): ([UInt8], [UInt8]) = ([], [UInt8](repeating: 0, count: 65_536))
        while bytes.count < 4 << 20 {
            let got = read(file.raw, &buffer, buffer.count)
            guard got >= 0 else { return nil }
            if got == 0 { break }
            bytes += buffer.prefix(got)
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The first number in it; nil too for a word like `max`.
    static func number(_ path: String) -> Int? {
        text(path)?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
    }

    /// What stands behind `name` at the start of a line, up to the line's end.
    static func field(_ name: String, in text: String) -> String? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) }) else { return nil }
        let rest = line.dropFirst(name.count).drop { $0 == " " || $0 == "\t" || $0 == ":" }
        return String(rest)
    }

    /// Bytes of a line such as `MemTotal:  8040508 kB`.
    static func kibibytes(_ name: String, in text: String) -> Int? {
        field(name, in: text)?.split(separator: " ").first.flatMap { Int($0) }.map { $0 << 10 }
    }

    /// Names in a folder, sorted; none when it cannot be read.
    static func names(_ folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Where a link leads.
    static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &buffer, buffer.count - 1)
        guard count >= 0 else { return nil }
        return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
