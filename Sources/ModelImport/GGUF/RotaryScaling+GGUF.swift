// Rotary scaling in GGUF metadata. The factor on cosines and sines stands there as one more factor on the paper's.
import Shard

extension RotaryScaling {
    /// - Parameter prefix: the architecture with a dot.
    init(_ gguf: GGUFFile, _ prefix: String) throws(ImportError) {
        let keys = prefix + "rope.scaling."
        // Older files name a factor alone.
        var stretch = try gguf.double(prefix + "rope.scale_linear") ?? 0
        if let newer = try gguf.double(keys + "factor") { stretch = newer }
        let name = try gguf.string(keys + "type") ?? (stretch == 0 ? "none" : Method.linear.rawValue)
        if name == "none" { return }
        guard name != Method.none.rawValue, let method = Method(rawValue: name) else {
            throw ImportError(
                .unsupportedArchitecture,
                "\(gguf.file.name): \(keys)type is \(name.prefix(80)), supported are linear and yarn; use another model"
            )
        }
        for (key, neutral) in [("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1), ("yarn_log_multiplier", 0)] {
            guard let value = try gguf.double(keys + key), value != neutral else { continue }
            throw ImportError(
                .unsupportedArchitecture,
                "\(gguf.file.name): \(keys)\(key) is \(value), only \(neutral) is supported; use another model")
        }
        // Without a factor nothing is stretched.
        if stretch == 0 { return }
        (self.method, factor) = (method, stretch)
        originalContext = try gguf.double(keys + "original_context_length")
        fastRotations = try gguf.double(keys + "yarn_beta_fast") ?? fastRotations
        slowRotations = try gguf.double(keys + "yarn_beta_slow") ?? slowRotations
        factorBeyondPaper = try gguf.double(keys + "attn_factor") ?? 1
    }
}
