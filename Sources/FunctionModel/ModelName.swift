// Names that people give to models. A model's name is in URLs, in function names (`name/L00-E003`) and in
// process names, so one narrow alphabet serves them all.

/// The rule for model names.
public enum ModelName {
    public static let longest = 63

    /// Whether `name` is one: lower-case letters and digits, inside also `.`, `_`, `-`; at most 63.
    public static func isValid(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= longest else { return false }
        return isAlphanumeric(first)
            && name.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }
    }

    /// The rule in words, for messages.
    public static let rule =
        "a name begins with a-z or 0-9, goes on with a-z, 0-9, '.', '_' or '-', and has at most \(longest) characters"

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
    }
}
