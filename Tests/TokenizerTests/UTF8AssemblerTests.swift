// The assembler against Swift's own repair of whole texts, whatever the pieces.
import SeededRandom
import Testing
import Tokenizer

@Suite struct UTF8AssemblerTests {
    /// Bytes from the places where the rules change, mixed with ordinary ones.
    private static let interesting: [UInt8] = [
        0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0,
        0xF1, 0xF4, 0xF5, 0xFF,
    ]

    @Test("every sequence of three interesting bytes, and many of six, is repaired as Swift repairs it")
    func likeString() {
        func check(_ bytes: [UInt8]) {
            let expected = Array(String(decoding: bytes, as: UTF8.self).utf8)
            #expect(UTF8Assembler.repaired(bytes) == expected, "\(bytes)")
        }
        for a in Self.interesting { for b in Self.interesting { for c in Self.interesting { check([a, b, c]) } } }
        var random = SplitMix64(101)
        for _ in 0..<5000 {
            check((0..<6).map { _ in Self.interesting.randomElement(using: &random) ?? 0 })
        }
    }

    @Test("pieces give the same text as the whole, and each piece is valid by itself")
    func pieces() {
        let bytes = Array("añ東🦊\u{301}".utf8) + [0xF0, 0x9F, 0x41, 0xE2, 0x82, 0xFF] + Array("👩‍👧".utf8) + [0xC3]
        for size in 1...7 {
            var assembler = UTF8Assembler()
            var out: [UInt8] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                let part = assembler.push(Array(bytes[start..<min(bytes.count, start + size)]))
                #expect(String(validating: part, as: UTF8.self) != nil)
                out += part
            }
            out += assembler.finish()
            #expect(out == UTF8Assembler.repaired(bytes))
        }
    }

    @Test("a character is held back until it is whole, and an unfinished one ends as one U+FFFD")
    func holdsBack() {
        var assembler = UTF8Assembler()
        #expect(assembler.push([0xF0, 0x9F, 0xA6]).isEmpty)
        #expect(assembler.isHoldingBack)
        #expect(assembler.push([0x8A]) == Array("🦊".utf8))
        #expect(!assembler.isHoldingBack)
        #expect(assembler.push([0xE2, 0x82]).isEmpty)
        #expect(assembler.finish() == Array("\u{FFFD}".utf8))
        #expect(assembler.finish().isEmpty)
        #expect(assembler.push([0x61]) == [0x61])
    }
}
