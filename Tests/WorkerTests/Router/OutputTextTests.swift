import SeededRandom
import Testing

@testable import Worker

@Suite("Output text and stop texts")
struct OutputTextTests {
    /// What comes out of pieces, one string per piece, then the end.
    private func pushed(_ pieces: [[UInt8]], stops: [String]) -> (parts: [String], stopped: Bool) {
        var text = OutputText(stops: stops)
        var parts = pieces.map { text.push($0) }
        parts.append(text.finish())
        return (parts, text.stopped)
    }

    private func pushed(_ pieces: [String], stops: [String]) -> (parts: [String], stopped: Bool) {
        pushed(pieces.map { Array($0.utf8) }, stops: stops)
    }

    @Test("A blank at the beginning of a text of its own is left out, whatever the tokens")
    func firstBlank() {
        for pieces in [[" a", " b"], ["", " ", "a", " b"]] {
            var text = OutputText(stops: ["a b"], dropsFirstBlank: true)
            #expect(pieces.map { text.push(Array($0.utf8)) }.joined() + text.finish() == "")
            #expect(text.stopped)
        }
        var kept = OutputText(stops: [], dropsFirstBlank: true)
        #expect(kept.push(Array("a b".utf8)) == "a b")
    }

    @Test("Without stop texts everything passes at once")
    func passes() {
        #expect(pushed(["ab", "c"], stops: []).parts == ["ab", "c", ""])
    }

    @Test("What may become a stop text waits until it cannot, and comes with the end otherwise")
    func holdsBack() {
        let broken = pushed(["say E", "N", "Q", " EN"], stops: ["END"])
        #expect(broken.parts == ["say ", "", "ENQ", " ", "EN"])
        #expect(!broken.stopped)
    }

    @Test("Output ends before the stop text, across tokens, and nothing follows")
    func stops() {
        let result = pushed(["one E", "N", "D two", "three"], stops: ["END"])
        #expect(result.parts == ["one ", "", "", "", ""])
        #expect(result.stopped)
    }

    @Test("The stop text that completes first counts, the longer of two that complete together")
    func earliest() {
        #expect(pushed(["abcdef"], stops: ["bcdef", "cd"]).parts.joined() == "ab")
        #expect(pushed(["xabc"], stops: ["c", "abc"]).parts.joined() == "x")
    }

    @Test("Characters cut by tokens come whole; bytes that never become one are U+FFFD")
    func assembles() {
        let smile = Array("🙂".utf8)
        #expect(pushed([[smile[0], smile[1]], [smile[2]], [smile[3], 0x41]], stops: []).parts == ["", "", "🙂A", ""])
        #expect(pushed([[0x41, smile[0], smile[1]]], stops: []).parts == ["A", "\u{FFFD}"])
        #expect(pushed([[smile[0], smile[1]], [smile[2], smile[3]]], stops: ["🙂"]).stopped)
        #expect(pushed([[0x41, 0xC3]], stops: ["\u{FFFD}"]).stopped, "also at the very end")
    }

    @Test("However text is cut into tokens, the output is that of a plain search")
    func equalsPlainSearch() {
        var random = SplitMix64(106)
        for _ in 0..<1000 {
            let letters = Array("abé".utf8)
            let whole = (0..<Int.random(in: 0...14, using: &random)).map { _ in
                ["a", "b", "é"].randomElement(using: &random) ?? "a"
            }.joined()
            let stops = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                (0..<Int.random(in: 1...4, using: &random)).map { _ in
                    ["a", "b", "é"].randomElement(using: &random) ?? "a"
                }.joined()
            }
            var rest = Array(whole.utf8)[...]
            var pieces: [[UInt8]] = []
            while !rest.isEmpty {
                let count = Int.random(in: 1...letters.count, using: &random)
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            let result = pushed(pieces, stops: stops)
            let expected = plain(whole, stops)
            #expect(result.parts.joined() == expected.text, "\(whole) \(stops)")
            #expect(result.stopped == expected.stopped)
        }
    }

    private func plain(_ text: String, _ stops: [String]) -> (text: String, stopped: Bool) {
        let bytes = Array(text.utf8)
        for end in 0...bytes.count {
            let lengths = stops.map { Array($0.utf8) }.filter { bytes[..<end].suffix($0.count).elementsEqual($0) }
                .map(\.count)
            if let length = lengths.max() { return (String(decoding: bytes[..<(end - length)], as: UTF8.self), true) }
        }
        return (text, false)
    }
}
