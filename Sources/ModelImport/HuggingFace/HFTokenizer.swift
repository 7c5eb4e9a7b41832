// tokenizer.json of the `tokenizers` library: vocabulary, merges, added tokens, and a pipeline of
// normalizer, pre-tokenizer, post-processor and decoder (`HFPipeline`). What the runtime does not do exactly is refused:
// a tokenizer that is nearly right gives a model that is nearly right.
import Tokenizer

struct HFTokenizer {
    private var file: String
    private var tokens: [String] = []
    private var merges: [(String, String)] = []
    private var added: [AddedToken] = []
    private var pipeline = HFPipeline()

    private static let longest = 64 << 20
    private static let mostTokens = 1 << 20

    init(_ source: SourceFile) throws(ImportError) {
        file = source.name
        var json = JSONReader(file: file, bytes: try source.contents(most: Self.longest))
        var tokenizer = self
        try json.document { json throws(ImportError) in
            try json.object { json, key throws(ImportError) in
                switch key {
                case "model": try tokenizer.readModel(&json)
                case "added_tokens":
                    try json.array { json throws(ImportError) in try tokenizer.readAdded(&json) }
                case "normalizer", "pre_tokenizer", "post_processor", "decoder":
                    tokenizer.pipeline.components[key] = try HFComponent(optional: &json)
                default: try json.skip()
                }
            }
        }
        self = tokenizer
    }

    /// - Parameter config: names of the begin token, and whether prompts begin with it.
    func definition(_ config: HFTokenizerConfig) throws(ImportError) -> TokenizerDefinition {
        let scheme = try pipeline.scheme(file)
        guard tokens.contains(where: { !$0.isEmpty }) else {
            throw ImportError(.badTokenizer, "\(file): the vocabulary is missing or empty; download the file again")
        }
        let bos = try config.bosText.map { text throws(ImportError) in try id(of: text) }
        let begin = try scheme.begin.map { text throws(ImportError) in try id(of: text) }
        guard begin == nil || begin == bos else {
            throw HFPipeline.unsupported("another token before the text than bos_token", "\(file), post_processor")
        }
        return TokenizerDefinition(
            tokens: tokens, merges: merges, added: added, preTokenizer: scheme.preTokenizer,
            blankPrefix: scheme.blankPrefix, dropsFirstBlank: scheme.dropsFirstBlank,
            normalizesNFC: scheme.normalizesNFC, bosToken: bos,
            addsBos: (config.addsBos ?? (begin != nil)) && bos != nil)
    }

    /// The id of a token that another file names.
    func id(of text: String) throws(ImportError) -> Int {
        if let token = added.first(where: { $0.content.utf8.elementsEqual(text.utf8) }) { return token.id }
        if let id = tokens.firstIndex(where: { $0.utf8.elementsEqual(text.utf8) }) { return id }
        throw ImportError(
            .badTokenizer,
            "\(file): it has no token \"\(text.prefix(80))\", which tokenizer_config.json names; "
                + "download both files again")
    }

    // MARK: Vocabulary

    private mutating func readModel(_ json: inout JSONReader) throws(ImportError) {
        var tokenizer = self
        try json.object { json, key throws(ImportError) in
            switch key {
            case "type":
                let type = try json.string()
                guard type == "BPE" else { throw HFPipeline.unsupported("a tokenizer of type \(type)", json.place) }
            case "vocab":
                try json.object { json, token throws(ImportError) in try tokenizer.readToken(token, &json) }
            case "merges":
                try json.array { json throws(ImportError) in try tokenizer.readMerge(&json) }
            case "byte_fallback": tokenizer.pipeline.fallsBackToBytes = try json.optionalBool() ?? false
            case "ignore_merges":
                if try json.optionalBool() ?? false { throw HFPipeline.unsupported(key, json.place) }
            case "continuing_subword_prefix", "end_of_word_suffix":
                if try json.optionalString() ?? "" != "" { throw HFPipeline.unsupported(key, json.place) }
            default: try json.skip()
            }
        }
        self = tokenizer
    }

    private mutating func readToken(_ token: String, _ json: inout JSONReader) throws(ImportError) {
        let place = json.at
        let id = try json.int()
        guard !token.isEmpty, (0..<Self.mostTokens).contains(id) else {
            throw ImportError(
                .badTokenizer,
                "\(file), byte \(place): token \"\(token.prefix(80))\" cannot have the id \(id); "
                    + "download the file again")
        }
        while tokens.count <= id { tokens.append("") }
        guard tokens[id].isEmpty else {
            throw ImportError(
                .badTokenizer,
                "\(file), byte \(place): tokens \"\(tokens[id].prefix(80))\" and "
                    + "\"\(token.prefix(80))\" both have the id \(id); download the file again")
        }
        tokens[id] = token
    }

    /// A merge is a pair, or in older files the two with a blank between.
    private mutating func readMerge(_ json: inout JSONReader) throws(ImportError) {
        var parts: [String] = []
        let place = json.place
        if try json.kind() == .array {
            try json.array { json throws(ImportError) in
                if parts.count < 3 { parts.append(try json.string()) } else { try json.skip() }
            }
        } else {
            parts = try json.string().split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        }
        guard parts.count == 2, merges.count < Self.mostTokens else {
            throw ImportError(
                .badTokenizer,
                "\(place): merge number \(merges.count) is not a pair of tokens, or there are more "
                    + "than \(Self.mostTokens); download the file again")
        }
        merges.append((parts[0], parts[1]))
    }

    private mutating func readAdded(_ json: inout JSONReader) throws(ImportError) {
        var token = AddedToken(id: -1, content: "", special: false)
        try json.object { json, key throws(ImportError) in
            switch key {
            case "id": token.id = try json.int()
            case "content": token.content = try json.string()
            case "special": token.special = try json.bool()
            case "normalized": token.normalized = try json.bool()
            case "lstrip": token.lstrip = try json.bool()
            case "rstrip": token.rstrip = try json.bool()
            case "single_word": token.singleWord = try json.bool()
            default: try json.skip()
            }
        }
        guard (0..<Self.mostTokens).contains(token.id), !token.content.isEmpty else {
            throw ImportError(
                .badTokenizer, "\(json.place): an added token has no usable id or no content; download the file again")
        }
        added.append(token)
    }
}
