// A byte-level BPE vocabulary of made-up words, with the merges that lead to each, so that text which a model
// generates is encoded to the same tokens again. Words are syllables of a consonant and a vowel: the 256 bytes,
// `ba`, ` ba`, ` baki`, ` bakito`, … in this order, as far as the vocabulary reaches; at its end three control
// tokens. Each token but the bytes is one merge, and merges rank as tokens do.

import Tokenizer

/// The tokens and merges of a vocabulary of `count` tokens.
struct SyntheticTokenizer {
    static let control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    /// The smallest vocabulary: bytes and control tokens.
    static let least = 256 + control.count
    static let chatTemplate =
        "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] "
        + "+ '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
        + "{{- '<|im_start|>assistant\\n' }}{%- endif %}"

    /// Vocabulary strings in the byte-level alphabet, control tokens last.
    private(set) var tokens: [String]
    /// Pairs with a blank between.
    private(set) var merges: [String] = []

    /// Where prompts may begin, and where documents end.
    var endOfText: Int { tokens.count - 3 }
    /// Where a turn of a conversation ends.
    var endOfTurn: Int { tokens.count - 1 }

    init(count: Int) {
        tokens = ByteAlphabet.characters
        tokens.reserveCapacity(count)
        let words = count - Self.control.count
        let syllables = "bdfghjklmnprstvz".flatMap { consonant in "aeiou".map { "\(consonant)\($0)" } }
        for syllable in syllables where tokens.count < words {
            merges.append("\(syllable.prefix(1)) \(syllable.suffix(1))")
            tokens.append(syllable)
        }
        // U+0120 stands for the blank that a word begins with.
        var stems = ["\u{120}"]
        while tokens.count < words {
            var longer: [String] = []
            for stem in stems {
                for syllable in syllables where tokens.count < words {
                    merges.append("\(stem) \(syllable)")
                    tokens.append(stem + syllable)
                    longer.append(stem + syllable)
                }
            }
            stems = longer
        }
        tokens += Self.control
    }
}
