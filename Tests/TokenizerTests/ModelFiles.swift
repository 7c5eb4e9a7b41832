// The tokenizers and reference cases that the tests read, and tables kept in memory that does not move, as a
// mapping would be. Tests may use Foundation; the modules under test may not.
import Foundation
import Tokenizer

/// A model folder with `tokenizer.json` and `tokenizer_cases.json`.
enum ModelFolder: String, CaseIterable, Sendable {
    case qwen2moe = "Tests/Conformance/nano/qwen2moe"
    case qwen3moe = "Tests/Conformance/nano/qwen3moe"
    case mixtral = "Tests/Conformance/nano/mixtral"
    case metaspace = "Tests/Conformance/nano/tokenizers/mistral-metaspace"
    case olmoe = "Tests/Conformance/nano/olmoe"
    case tales = "Runtime/Models/tales-moe"

    var path: URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: rawValue)
    }

    private struct TokenizerFile: Decodable {
        struct Added: Decodable {
            let id: Int
            let content: String
            let single_word, lstrip, rstrip, normalized, special: Bool
        }
        struct Model: Decodable {
            let vocab: [String: Int]
            let merges: [Merge]
        }
        /// `["a", "b"]` in newer files, `"a b"` in older ones.
        struct Merge: Decodable {
            let pair: (String, String)
            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                let parts: [String]
                if let list = try? container.decode([String].self) {
                    parts = list
                } else {
                    parts = try container.decode(String.self).split(separator: " ").map(String.init)
                }
                pair = (parts[0], parts[1])
            }
        }
        let added_tokens: [Added]
        let model: Model
    }

    func definition() throws -> TokenizerDefinition {
        let data = try Data(contentsOf: path.appending(path: "tokenizer.json"))
        let file = try JSONDecoder().decode(TokenizerFile.self, from: data)
        var tokens = [String](repeating: "", count: (file.model.vocab.values.max() ?? -1) + 1)
        for (string, id) in file.model.vocab { tokens[id] = string }
        return TokenizerDefinition(
            tokens: tokens, merges: file.model.merges.map(\.pair),
            added: file.added_tokens.map {
                AddedToken(
                    id: $0.id, content: $0.content, special: $0.special, normalized: $0.normalized,
                    lstrip: $0.lstrip, rstrip: $0.rstrip, singleWord: $0.single_word)
            },
            preTokenizer: isSentencePiece ? .metaspace : self == .olmoe ? .gpt2 : .qwen2,
            blankPrefix: self == .mixtral ? .eachStretch : self == .metaspace ? .firstWithout : .never,
            dropsFirstBlank: isSentencePiece, normalizesNFC: !isSentencePiece)
    }

    private var isSentencePiece: Bool { self == .mixtral || self == .metaspace }

    func cases() throws -> ReferenceCases {
        try JSONDecoder().decode(
            ReferenceCases.self, from: Data(contentsOf: path.appending(path: "tokenizer_cases.json")))
    }

    func loaded() throws -> LoadedTokenizer { try LoadedTokenizer(definition().encodeTables()) }
}

struct ReferenceCases: Decodable, Sendable {
    struct Case: Decodable, Sendable {
        let text: String
        let ids: [Int32]
        let ids_special_as_text: [Int32]?
        let decoded: String
        let decoded_skip_special: String?
    }
    let cases: [Case]
}

/// A tokenizer with the memory that holds its tables.
final class LoadedTokenizer {
    private let memory: UnsafeMutableRawBufferPointer
    let tokenizer: Tokenizer

    /// - Parameter offset: how far from an aligned address the tables begin.
    init(_ tables: [UInt8], offset: Int = 0) throws {
        memory = .allocate(byteCount: tables.count + offset, alignment: 16)
        let place = UnsafeMutableRawBufferPointer(rebasing: memory[offset...])
        place.copyBytes(from: tables)
        do {
            tokenizer = try Tokenizer(tables: UnsafeRawBufferPointer(place))
        } catch {
            memory.deallocate()
            throw error
        }
    }

    deinit { memory.deallocate() }

    func encode(_ text: String, parseSpecial: Bool = true) -> [Int32] {
        tokenizer.encode(Array(text.utf8), parseSpecial: parseSpecial)
    }

    func decode(_ ids: [Int32], skipSpecial: Bool = false) -> String {
        var assembler = UTF8Assembler(dropsFirstBlank: tokenizer.dropsFirstBlank)
        var bytes: [UInt8] = []
        for id in ids where !(skipSpecial && tokenizer.isSpecial(id)) {
            bytes += assembler.push(tokenizer.bytes(of: id))
        }
        return String(decoding: bytes + assembler.finish(), as: UTF8.self)
    }
}

/// A vocabulary of the 256 bytes alone, to build small tokenizers on.
func byteVocabulary() -> [String] {
    let printable = Array(0x21...0x7E) + Array(0xA1...0xAC) + Array(0xAE...0xFF)
    var displaced: UInt32 = 0x100
    return (0..<256).map { byte in
        if printable.contains(byte) { return String(UnicodeScalar(UInt8(byte))) }
        defer { displaced += 1 }
        return UnicodeScalar(displaced).map(String.init) ?? ""
    }
}
