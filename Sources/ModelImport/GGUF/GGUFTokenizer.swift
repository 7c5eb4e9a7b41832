// The tokenizer out of GGUF metadata: byte-level BPE (gpt2), or SentencePiece's (llama). GGUF does not say how text is
// normalised: NFC, which models with these pre-tokenizers have in their tokenizer.json (llama.cpp leaves it out).
import Tokenizer

struct GGUFTokenizer {
    let definition: TokenizerDefinition
    let bosText: String
    let eosText: String
    let endTokens: [Int32]

    /// Values of `tokenizer.ggml.token_type`.
    private enum Kind {
        static let normal = 1
        static let unknown = 2
        static let control = 3
        static let userDefined = 4
        static let unused = 5
        static let byte = 6
    }

    init(_ gguf: GGUFFile) throws(ImportError) {
        let file = gguf.file.name
        let model = try gguf.required("tokenizer.ggml.model", gguf.string("tokenizer.ggml.model"))
        guard model == "gpt2" || model == "llama" else {
            throw ImportError(
                .unsupportedTokenizer,
                "\(file): the tokenizer \(model.prefix(80)) is not supported; byte-level BPE (gpt2) as in Qwen2 and "
                    + "SentencePiece's (llama) as in Mixtral are")
        }
        let isSentencePiece = model == "llama"
        let preTokenizer = isSentencePiece ? PreTokenizer.metaspace : try Self.preTokenizer(gguf)
        var tokens = try gguf.required("tokenizer.ggml.tokens", gguf.strings("tokenizer.ggml.tokens"))
        let texts = tokens
        // SentencePiece's control tokens have scores like others and are known by their types alone.
        let kinds =
            try gguf.ints("tokenizer.ggml.token_type")
            ?? Array(repeating: Kind.normal, count: isSentencePiece ? 0 : tokens.count)
        guard kinds.count == tokens.count else {
            throw ImportError(
                .badTokenizer, "\(file): \(tokens.count) tokens, but \(kinds.count) token types; convert it again")
        }
        var added: [AddedToken] = []
        for (id, kind) in kinds.enumerated() where kind != Kind.normal {
            let isSpecial = kind == Kind.control || kind == Kind.unknown && isSentencePiece
            switch kind {
            case Kind.byte where isSentencePiece: continue
            case Kind.unused: break
            case _ where isSpecial || kind == Kind.userDefined:
                added.append(AddedToken(id: id, content: tokens[id], special: isSpecial))
            default:
                throw ImportError(
                    .unsupportedTokenizer,
                    "\(file): token \(id) has the type \(kind), which a \(model) tokenizer does not have; "
                        + "convert the model again")
            }
            tokens[id] = ""
        }
        while tokens.last == "" { tokens.removeLast() }

        func token(_ key: String) throws(ImportError) -> Int? {
            guard let id = try gguf.int(key) else { return nil }
            guard texts.indices.contains(id) else {
                throw ImportError(.badTokenizer, "\(file): \(key) is \(id), there are \(texts.count) tokens")
            }
            return id
        }
        let bos = try token("tokenizer.ggml.bos_token_id")
        var ends: [Int] = []
        for key in ["eos", "eot", "eom"] {
            if let id = try token("tokenizer.ggml.\(key)_token_id"), !ends.contains(id) { ends.append(id) }
        }
        endTokens = ends.compactMap { Int32(exactly: $0) }
        bosText = bos.map { texts[$0] } ?? ""
        eosText = try token("tokenizer.ggml.eos_token_id").map { texts[$0] } ?? ""
        let addsBos = try gguf.bool("tokenizer.ggml.add_bos_token") ?? isSentencePiece
        guard isSentencePiece else {
            definition = TokenizerDefinition(
                tokens: tokens, merges: try Self.merges(gguf), added: added, preTokenizer: preTokenizer,
                normalizesNFC: true, bosToken: bos, addsBos: addsBos && bos != nil)
            return
        }
        let prefixes = try gguf.bool("tokenizer.ggml.add_space_prefix") ?? true
        definition = TokenizerDefinition(
            tokens: tokens, merges: [],
            scores: try gguf.required("tokenizer.ggml.scores", gguf.floats("tokenizer.ggml.scores")), added: added,
            preTokenizer: preTokenizer, blankPrefix: prefixes ? .eachStretch : .never, dropsFirstBlank: prefixes,
            normalizesNFC: false, bosToken: bos, addsBos: addsBos && bos != nil)
    }

    private static func preTokenizer(_ gguf: GGUFFile) throws(ImportError) -> PreTokenizer {
        let pre = try gguf.required("tokenizer.ggml.pre", gguf.string("tokenizer.ggml.pre"))
        do throws(TokenizerError) {
            return try PreTokenizer(ggufName: pre)
        } catch {
            throw ImportError(.unsupportedTokenizer, "\(gguf.file.name), tokenizer.ggml.pre: \(error.message)")
        }
    }

    private static func merges(_ gguf: GGUFFile) throws(ImportError) -> [(String, String)] {
        let lines = try gguf.required("tokenizer.ggml.merges", gguf.strings("tokenizer.ggml.merges"))
        var merges: [(String, String)] = []
        merges.reserveCapacity(lines.count)
        for (index, line) in lines.enumerated() {
            let parts = line.split(separator: " ", omittingEmptySubsequences: false)
            guard parts.count == 2 else {
                throw ImportError(
                    .badTokenizer,
                    "\(gguf.file.name): merge number \(index) of tokenizer.ggml.merges is not two tokens "
                        + "with a blank between; convert the model again")
            }
            merges.append((String(parts[0]), String(parts[1])))
        }
        return merges
    }
}
