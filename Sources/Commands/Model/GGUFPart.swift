// The name of a GGUF file that is one of several: MODEL-00001-of-00003.gguf, as llama-gguf-split writes them.

struct GGUFPart {
    /// The path without number and ending.
    let stem: String
    let count: Int

    /// nil when this is no part's name.
    init?(_ path: String) {
        let ending = path.suffix(20)
        let parts = ending.dropLast(5).split(separator: "-", omittingEmptySubsequences: false)
        guard ending.hasSuffix(".gguf"), parts.count == 4, parts[0].isEmpty, parts[2] == "of", parts[1].count == 5,
            parts[3].count == 5, let number = Int(parts[1]), let count = Int(parts[3]), number >= 1, number <= count
        else { return nil }
        (stem, self.count) = (String(path.dropLast(20)), count)
    }

    /// The paths of all parts.
    var all: [String] {
        func padded(_ number: Int) -> String { String(String(100_000 + number).dropFirst()) }
        return (1...count).map { "\(stem)-\(padded($0))-of-\(padded(count)).gguf" }
    }
}
