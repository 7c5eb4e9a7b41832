// The one error of an import. Its message ends up on the screen of someone who downloaded a model: it
// names the file, the place in it (tensor, key or byte), what is wrong, and what to do about it.

/// A deployment that cannot go on.
public struct ImportError: Error, Sendable, CustomStringConvertible {
    /// What kind of fault, stable across versions.
    public enum Code: String, Sendable {
        case notAModel = "not_a_model"
        case missingFile = "missing_file"
        case readFailed = "read_failed"
        case truncated = "truncated_file"
        case tooLarge = "too_large"
        case badJSON = "bad_json"
        case badConfig = "bad_config"
        case badIndex = "bad_index"
        case badSafetensors = "bad_safetensors"
        case badGGUF = "bad_gguf"
        case badBackup = "bad_backup"
        case badTokenizer = "bad_tokenizer"
        case unsupportedArchitecture = "unsupported_architecture"
        case unsupportedFormat = "unsupported_format"
        case unsupportedTokenizer = "unsupported_tokenizer"
        case unsupportedTemplate = "unsupported_template"
        case missingTensor = "missing_tensor"
        case unexpectedTensor = "unexpected_tensor"
        case duplicateTensor = "duplicate_tensor"
        case badShape = "bad_shape"
        case badValue = "bad_value"
        case badOptions = "bad_options"
        case writeFailed = "write_failed"
        case noSpace = "no_space"
        /// Whoever takes the shards refused one; the message is theirs.
        case refused = "refused"
    }

    /// The stable code as text; a refusal carries the code of the one who refused.
    public let code: String
    public let message: String

    public init(_ code: Code, _ message: String) { self.init(code: code.rawValue, message: message) }

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code): \(message)" }
}
