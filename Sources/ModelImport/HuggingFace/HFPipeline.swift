// What a tokenizer's pipeline comes to. There are two kinds that models are published with: byte-level BPE, and
// SentencePiece's BPE in an older and a newer form. Whatever is not exactly one of these is refused.
import Tokenizer

struct HFPipeline {
    /// By key of tokenizer.json.
    var components: [String: HFComponent] = [:]
    var fallsBackToBytes = false

    /// What of it the runtime has to know.
    struct Scheme {
        var preTokenizer: PreTokenizer
        var normalizesNFC = false
        var blankPrefix = BlankPrefix.never
        var dropsFirstBlank = false
        /// The token that the post-processor puts before a text.
        var begin: String?
    }

    private static let mark = "\u{2581}"

    static func unsupported(_ what: String, _ place: String) -> ImportError {
        ImportError(
            .unsupportedTokenizer,
            "\(place): \(what.prefix(120)) is not supported; tokenizers like those of Qwen2, OLMoE and Mixtral are")
    }

    /// - Throws: `ImportError(.unsupportedTokenizer)` naming the part that the runtime does not know.
    func scheme(_ file: String) throws(ImportError) -> Scheme {
        var scheme = try fallsBackToBytes ? sentencePiece(file) : byteLevel(file)
        scheme.begin = try begin(file)
        return scheme
    }

    private func refused(_ key: String, _ file: String) -> ImportError {
        let words = components[key]?.words ?? "nothing"
        let kind = fallsBackToBytes ? " with byte_fallback" : ""
        return Self.unsupported("\(words)\(kind)", "\(file), \(key)")
    }

    // MARK: Byte-level BPE

    private func byteLevel(_ file: String) throws(ImportError) -> Scheme {
        let normalizers = components["normalizer"]?.steps ?? []
        guard normalizers.allSatisfy({ $0.type == "NFC" }) else { throw refused("normalizer", file) }
        guard components["decoder"]?.steps.allSatisfy({ $0.type == "ByteLevel" }) ?? true else {
            throw refused("decoder", file)
        }
        return Scheme(preTokenizer: try words(file), normalizesNFC: !normalizers.isEmpty)
    }

    /// A split by a known expression and a byte-level step without one of its own, or a byte-level step with its own.
    private func words(_ file: String) throws(ImportError) -> PreTokenizer {
        let steps = components["pre_tokenizer"]?.steps ?? []
        guard let last = steps.last, last.type == "ByteLevel", last.flags["add_prefix_space"] == false else {
            throw refused("pre_tokenizer", file)
        }
        let hasExpression = last.flags["use_regex"] ?? true
        if steps.count == 1, hasExpression { return .gpt2 }
        guard steps.count == 2, !hasExpression, steps[0].type == "Split", let expression = steps[0].texts["Regex"],
            steps[0].texts["behavior"] ?? "Isolated" == "Isolated", steps[0].flags["invert"] != true
        else { throw refused("pre_tokenizer", file) }
        do throws(TokenizerError) {
            return try PreTokenizer(expression: expression)
        } catch {
            throw ImportError(.unsupportedTokenizer, "\(file), pre_tokenizer: \(error.message)")
        }
    }

    // MARK: SentencePiece

    private func sentencePiece(_ file: String) throws(ImportError) -> Scheme {
        Scheme(
            preTokenizer: .metaspace, blankPrefix: try blankPrefix(file), dropsFirstBlank: try dropsFirstBlank(file))
    }

    /// The older form changes blanks when it normalises, the newer one when it would cut words.
    private func blankPrefix(_ file: String) throws(ImportError) -> BlankPrefix {
        guard let step = components["pre_tokenizer"] else {
            var steps = components["normalizer"]?.steps ?? []
            let prepends = steps.first?.type == "Prepend" && steps.first?.texts["prepend"] == Self.mark
            if prepends { steps.removeFirst() }
            guard steps.count == 1, replaces(steps[0], " ", Self.mark) else { throw refused("normalizer", file) }
            return prepends ? .eachStretch : .never
        }
        guard components["normalizer"] == nil else { throw refused("normalizer", file) }
        guard step.type == "Metaspace", step.texts["replacement"] == Self.mark, step.flags["split"] == false else {
            throw refused("pre_tokenizer", file)
        }
        switch step.texts["prepend_scheme"] {
        case "always": return .eachStretchWithout
        case "first": return .firstWithout
        case "never": return .never
        default: throw refused("pre_tokenizer", file)
        }
    }

    private func replaces(_ step: HFComponent, _ old: String, _ new: String) -> Bool {
        step.type == "Replace" && step.texts["String"] == old && step.texts["content"] == new
    }

    /// The decoder undoes all that, and may take a blank off the text's beginning.
    private func dropsFirstBlank(_ file: String) throws(ImportError) -> Bool {
        let steps = components["decoder"]?.steps ?? []
        guard (3...4).contains(steps.count), replaces(steps[0], Self.mark, " "), steps[1].type == "ByteFallback",
            steps[2].type == "Fuse"
        else { throw refused("decoder", file) }
        guard steps.count == 4 else { return false }
        guard steps[3].type == "Strip", steps[3].texts["content"] == " ", steps[3].strips == [1, 0] else {
            throw refused("decoder", file)
        }
        return true
    }

    // MARK: What comes before the text

    private func begin(_ file: String) throws(ImportError) -> String? {
        var begin: String?
        for step in components["post_processor"]?.steps ?? [] where step.type != "ByteLevel" {
            guard step.type == "TemplateProcessing", begin == nil, (1...2).contains(step.template.count),
                step.template.last == .some(nil), step.template.count == 1 || step.template[0] != nil
            else { throw refused("post_processor", file) }
            begin = step.template.count == 2 ? step.template[0] : nil
        }
        return begin
    }
}
