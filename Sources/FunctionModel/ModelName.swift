// Names that people give to models. A model's name is in URLs, in function names (`name/L00-E003`) and in
// process names, so one narrow alphabet serves them all. A tenant's model has its owner in its full name, `name@tenant`:
// so each tenant has names of its own, and whose a function is can be told from what it is called.

/// The rule for model names.
public enum ModelName {
    public static let longest = 63

    /// Whether `name` is one: lower-case letters and digits, inside also `.`, `_`, `-`; at most 63.
    public static func isValid(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= longest else { return false }
        return isAlphanumeric(first)
            && name.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D }
    }

    /// Whether `name` is a model's full name: a name, of a tenant's model with `@` and the tenant's.
    public static func isFull(_ name: String) -> Bool {
        guard let owner = owner(of: name) else { return isValid(name) }
        return isValid(short(name)) && isValid(owner)
    }

    /// The full name of a model.
    /// - Parameter owner: the tenant whose it is; nil: the operator's.
    public static func full(_ name: String, of owner: String?) -> String { owner.map { "\(name)@\($0)" } ?? name }

    /// The tenant whose model this full name names; nil: the operator's.
    public static func owner(of name: String) -> String? {
        name.firstIndex(of: "@").map { String(name[name.index(after: $0)...]) }
    }

    /// What its owner calls it.
    public static func short(_ name: String) -> String { String(name.prefix { $0 != "@" }) }

    /// The rule in words, for messages.
    public static let rule =
        "a name begins with a-z or 0-9, goes on with a-z, 0-9, '.', '_' or '-', and has at most \(longest) characters"

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
    }
}
