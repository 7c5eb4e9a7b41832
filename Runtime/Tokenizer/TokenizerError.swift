// What goes wrong with a tokenizer goes wrong at import (a vocabulary that contradicts itself) or when a
// router maps its tables (a damaged shard). Both name the token or the offset, and what to do about it.

/// A vocabulary that cannot be used, or tables that are damaged.
public struct TokenizerError: Error, Sendable, CustomStringConvertible {
    /// A stable name of the kind of failure, for example `tokenizer_duplicate`.
    public let code: String
    /// What failed, on what, why, and what to do.
    public let message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(code): \(message)" }

    static func damaged(_ what: String) -> TokenizerError {
        TokenizerError(
            code: "tokenizer_tables_damaged",
            message: "tokenizer tables: \(what); verify the router's shard, or deploy the model again")
    }
}
