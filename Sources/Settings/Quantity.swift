// Sizes and durations as people write them, the same on command lines, in the environment and in the settings' file.

public enum Quantity {
    /// Bytes of `512M`, `3G`, `1.5GiB`, `1000000`; units are powers of 1,024. nil when it is none.
    public static func bytes(_ text: String) -> Int? {
        let digits = text.prefix { $0.isNumber || $0 == "." }
        guard let value = Double(digits), value > 0 else { return nil }
        var unit = text.dropFirst(digits.count).uppercased()
        if unit.hasSuffix("IB") { unit.removeLast(2) } else if unit.hasSuffix("B") { unit.removeLast() }
        guard let power = ["", "K", "M", "G", "T"].firstIndex(of: unit) else { return nil }
        let bytes = value * Double(1 << (10 * power))
        return bytes < 1e18 ? Int(bytes) : nil
    }

    /// Milliseconds of `500ms`, `5s`, `2m`, `1h` (a bare number means seconds); nil when it is none.
    public static func milliseconds(_ text: String) -> Int? {
        let digits = text.prefix { $0.isNumber || $0 == "." }
        guard let value = Double(digits), value >= 0 else { return nil }
        let scale: Double
        switch text.dropFirst(digits.count) {
        case "ms": scale = 1
        case "s", "": scale = 1000
        case "m": scale = 60_000
        case "h": scale = 3_600_000
        default: return nil
        }
        let result = (value * scale).rounded()
        return result <= 1e12 ? Int(result) : nil
    }
}
