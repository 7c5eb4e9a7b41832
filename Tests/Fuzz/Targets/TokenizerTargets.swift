// The tokenizer from both sides: what an import makes of a model's files, and what a router maps, which may have been
// made by an importer that was taken over.
import Tokenizer

@testable import ModelImport

extension FuzzTarget {
    /// tokenizer_config.json (empty for none), tokenizer.json, text that is trusted, and text that is not.
    static let tokenizer = FuzzTarget("tokenizer", longest: 16 << 10) { bytes in
        let parts = bytes.parts(4)
        let definition: TokenizerDefinition
        do throws(ImportError) {
            let config =
                parts[0].isEmpty
                ? HFTokenizerConfig() : try HFTokenizerConfig(try MemoryFiles.file("tokenizer_config.json", parts[0]))
            definition = try HFTokenizer(try MemoryFiles.file("tokenizer.json", parts[1])).definition(config)
        } catch {
            return precondition(!error.message.isEmpty)
        }
        guard let tables = try? definition.encodeTables() else { return }
        withPages(tables) { raw in
            do throws(TokenizerError) {
                encode(parts[2], parts[3], try Tokenizer(tables: raw))
            } catch {
                preconditionFailure("tables that were just made do not open: \(error)")
            }
        }
    }

    /// A byte that says how long the text is, the text, and tables.
    static let tokenizerTables = FuzzTarget("tokenizer-tables", longest: 8192) { bytes in
        let (length, rest) = bytes.chosen
        let text = Array(rest.prefix(Int(length)))
        withPages(Array(rest.dropFirst(Int(length)))) { raw in
            guard let tokenizer = try? Tokenizer(tables: raw) else { return }
            encode(text, text, tokenizer)
        }
    }

    private static func encode(_ trusted: [UInt8], _ plain: [UInt8], _ tokenizer: Tokenizer) {
        let ids = tokenizer.encode([
            TextPiece(utf8: trusted, parsesSpecial: true), TextPiece(utf8: plain, parsesSpecial: false),
        ])
        var text = UTF8Assembler(dropsFirstBlank: tokenizer.dropsFirstBlank)
        for id in ids {
            precondition(id >= 0 && Int(id) < tokenizer.vocabularySize)
            _ = tokenizer.isSpecial(id)
            precondition(String(validating: text.push(tokenizer.bytes(of: id)), as: UTF8.self) != nil)
        }
        precondition(String(validating: text.finish(), as: UTF8.self) != nil)
    }
}
