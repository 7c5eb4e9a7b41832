// The settings' file: a mapping of names to single values.

enum SettingsFile {
    /// One line of the file.
    struct Entry {
        let name: String
        let value: String
        let line: Int
    }

    /// The entries of a file, without those that have no value, and what is wrong with the others.
    /// - Throws: `SettingsError` when there are none to be had.
    static func read(_ path: String) throws(SettingsError) -> (entries: [Entry], problems: [String]) {
        guard let root = try YAML.read(path, "the settings"), !root.isNull else { return ([], []) }
        guard case .map(let pairs) = root.content else {
            throw SettingsError("\(path):\(root.line): settings are lines like `memory: 3G`, not a list or text")
        }
        var lines: [String: Int] = [:]
        var entries: [Entry] = []
        var problems: [String] = []
        for (name, line, value) in pairs {
            guard case .text(let text, _) = value.content else {
                problems.append("\(path):\(line): \(name.prefix(100)) must have one value, like `memory: 3G`")
                continue
            }
            if let before = lines.updateValue(line, forKey: name) {
                problems.append(
                    "\(path):\(line): \(name.prefix(100)) stands in line \(before) already; remove one of them")
            } else if !value.isNull {
                entries.append(Entry(name: name, value: text, line: line))
            }
        }
        return (entries, problems)
    }
}
