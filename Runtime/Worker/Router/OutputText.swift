// From tokens to the text that a caller reads: bytes are put together to whole UTF-8 (a token may end in the
// middle of a character), then searched for stop texts. What a token adds is a function of the tokens before
// it, so a replay that pushes them again goes on with the same state.
import Tokenizer

/// The text of an output as it grows.
struct OutputText {
    private var assembler: UTF8Assembler
    private var search: StopSearch

    /// - Parameter dropsFirstBlank: whether a blank at the text's beginning is left out.
    init(stops: [String], dropsFirstBlank: Bool = false) {
        assembler = UTF8Assembler(dropsFirstBlank: dropsFirstBlank)
        search = StopSearch(stops)
    }

    /// Whether a stop text is complete: the output ended before it.
    var stopped: Bool { search.found }

    /// The bytes of one token; answers what may be sent. Special tokens have no text and are not pushed.
    mutating func push(_ bytes: [UInt8]) -> String {
        String(decoding: search.push(assembler.push(bytes)), as: UTF8.self)
    }

    /// The end of the output: what was held back. Bytes that never became a character are U+FFFD.
    mutating func finish() -> String {
        let tail = search.push(assembler.finish())
        return String(decoding: tail + search.finish(), as: UTF8.self)
    }
}
