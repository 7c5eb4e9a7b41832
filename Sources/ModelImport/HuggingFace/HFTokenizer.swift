// tokenizer.json of the `tokenizers` library: vocabulary, merges, added tokens, and a pipeline of
// normalizer, pre-tokenizer, post-processor and decoder. What the runtime does not do exactly is refused:
// a tokenizer that is nearly right gives a model that is nearly right.
import Tokenizer

struct HFTokenizer {
    private var file: String
    private var tokens: [String] = []
    private var merges: [(String, String)] = []
    private var added: [AddedToken] = []
    private var preTokenizer: PreTokenizer?
    private var normalizesNFC = false

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
                case "normalizer": try tokenizer.readNormalizer(&json)
                case "pre_tokenizer": try tokenizer.readPreTokenizer(&json)
                case "post_processor", "decoder":
                    guard try !json.null() else { return }
                    try tokenizer.readByteLevel(&json, key)
                default: try json.skip()
                }
            }
        }
        self = tokenizer
    }

    /// - Parameter config: names of the begin token, and whether prompts begin with it.
    func definition(_ config: HFTokenizerConfig) throws(ImportError) -> TokenizerDefinition {
        guard let preTokenizer else { throw unsupported("a tokenizer without pre-tokenizer", "\(file)") }
        guard tokens.contains(where: { !$0.isEmpty }) else {
            throw ImportError(.badTokenizer, "\(file): the vocabulary is missing or empty; download the file again")
        }
        let bos = try config.bosText.map { text throws(ImportError) in try id(of: text) }
        return TokenizerDefinition(
            tokens: tokens, merges: merges, added: added, preTokenizer: preTokenizer, normalizesNFC: normalizesNFC,
            bosToken: bos, addsBos: config.addsBos && bos != nil)
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

    private func unsupported(_ what: String, _ place: String) -> ImportError {
        ImportError(
            .unsupportedTokenizer, "\(place): \(what.prefix(120)) is not supported; byte-level BPE as in Qwen2 is")
    }

    // MARK: Vocabulary

    private mutating func readModel(_ json: inout JSONReader) throws(ImportError) {
        var tokenizer = self
        try json.object { json, key throws(ImportError) in
            switch key {
            case "type":
                let type = try json.string()
                guard type == "BPE" else { throw tokenizer.unsupported("a tokenizer of type \(type)", json.place) }
            case "vocab":
                try json.object { json, token throws(ImportError) in try tokenizer.readToken(token, &json) }
            case "merges":
                try json.array { json throws(ImportError) in try tokenizer.readMerge(&json) }
            case "byte_fallback", "ignore_merges", "fuse_unk":
                if try json.optionalBool() ?? false { throw tokenizer.unsupported(key, json.place) }
            case "continuing_subword_prefix", "end_of_word_suffix":
                if try json.optionalString() ?? "" != "" { throw tokenizer.unsupported(key, json.place) }
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

    // MARK: Pipeline

    private mutating func readNormalizer(_ json: inout JSONReader) throws(ImportError) {
        guard try !json.null() else { return }
        var type = ""
        try json.object { json, key throws(ImportError) in
            if key == "type" { type = try json.string() } else { try json.skip() }
        }
        guard type == "NFC" else { throw unsupported("the normalizer \(type)", json.place) }
        normalizesNFC = true
    }

    /// A sequence of a split by a known expression and a byte-level step without one of its own.
    private mutating func readPreTokenizer(_ json: inout JSONReader) throws(ImportError) {
        guard try !json.null() else { return }
        var tokenizer = self
        var (type, steps) = ("", [String]())
        try json.object { json, key throws(ImportError) in
            switch key {
            case "type": type = try json.string()
            case "pretokenizers":
                try json.array { json throws(ImportError) in steps.append(try tokenizer.readStep(&json)) }
            default: try json.skip()
            }
        }
        guard type == "Sequence", steps == ["Split", "ByteLevel"] else {
            throw unsupported("the pre-tokenizer \(type) \(steps)", json.place)
        }
        self = tokenizer
    }

    private mutating func readStep(_ json: inout JSONReader) throws(ImportError) -> String {
        var (type, expression, flags): (String, String?, [String: Bool]) = ("", nil, [:])
        var behavior = "Isolated"
        try json.object { json, key throws(ImportError) in
            switch key {
            case "type": type = try json.string()
            case "pattern":
                try json.object { json, key throws(ImportError) in
                    if key == "Regex" { expression = try json.string() } else { try json.skip() }
                }
            case "behavior": behavior = try json.string()
            case "invert", "add_prefix_space", "use_regex": flags[key] = try json.bool()
            default: try json.skip()
            }
        }
        // A byte-level step that does not say otherwise cuts words by an expression of its own.
        let plain = type != "ByteLevel" || flags["use_regex"] == false
        guard behavior == "Isolated", plain, !flags.values.contains(true) else {
            throw unsupported("a pre-tokenizer step \(type) with \(behavior) \(flags)", json.place)
        }
        if let expression {
            do throws(TokenizerError) {
                preTokenizer = try PreTokenizer(expression: expression)
            } catch {
                throw ImportError(.unsupportedTokenizer, "\(json.place): \(error.message)")
            }
        } else if type != "ByteLevel" {
            throw unsupported("the pre-tokenizer step \(type)", json.place)
        }
        return type
    }

    private func readByteLevel(_ json: inout JSONReader, _ what: String) throws(ImportError) {
        var type = ""
        try json.object { json, key throws(ImportError) in
            if key == "type" { type = try json.string() } else { try json.skip() }
        }
        guard type == "ByteLevel" else { throw unsupported("the \(what) \(type)", json.place) }
    }
}
