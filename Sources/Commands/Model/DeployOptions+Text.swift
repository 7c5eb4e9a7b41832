// The options of a deployment as people write them, on a command line and in a manifest.
import Wire

extension DeployOptions {
    /// What `set` knows.
    static let names = ["experts-per-function", "layers-per-function", "quantize", "context", "kv-type"]
    private static let formats = ["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"]

    /// Sets one of `names`.
    /// - Returns: what it must be, when `text` is not that; nothing is changed then.
    mutating func set(_ option: String, _ text: String) -> String? {
        switch option {
        case "experts-per-function", "layers-per-function":
            guard let count = text == "all" ? 0 : UInt32(text), text == "all" || count > 0 else {
                return "a number from 1 on, or all"
            }
            if option == "experts-per-function" { expertsPerFunction = count } else { layersPerFunction = count }
        case "quantize":
            guard Self.formats.contains(text) else { return "one of \(Self.formats.joined(separator: ", "))" }
            quantize = text
        case "context":
            guard let tokens = UInt32(text), tokens > 0 else { return "a number of tokens, at least 1" }
            context = tokens
        case "kv-type":
            guard ["f16", "q8_0", "f32"].contains(text) else { return "f16, q8_0 or f32" }
            kvType = text
        default: return "one of \(Self.names.joined(separator: ", "))"
        }
        return nil
    }
}
