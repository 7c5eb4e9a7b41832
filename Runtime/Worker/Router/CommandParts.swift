// Puts a caller's commands together from their parts, within fixed memory whatever the caller sends. A command
// that is too long is not the caller's fault but its client's (someone sent a book), so the rest of its parts is
// skipped and that sequence alone is refused; what breaks the protocol throws, and the caller is cut off.
import Wire

/// Commands of one caller that are not complete yet.
struct CommandParts {
    enum Outcome: Equatable {
        case incomplete
        case complete([UInt8])
        /// The last part of a command of more than `mostBytes` has come.
        case tooLong
    }

    private enum Entry {
        case collecting([UInt8])
        case skipping
    }

    /// Bytes of one command; a prompt of more tokens than the context has cannot be taken anyway.
    let mostBytes: Int
    static let mostEntries = 64
    private var entries: [UInt64: Entry] = [:]
    /// Bytes of all entries together: at most twice `mostBytes`.
    private(set) var heldBytes = 0

    init(context: Int) { mostBytes = max(1 << 20, context * 64) }

    /// - Throws: `WireError` when too many commands are incomplete at once.
    mutating func add(_ frame: RouterFrame) throws(WireError) -> Outcome {
        var (collected, skipping): ([UInt8], Bool) = ([], false)
        switch entries.removeValue(forKey: frame.sequence) {
        case .collecting(let parts): collected = parts
        case .skipping: skipping = true
        case nil: break
        }
        heldBytes -= collected.count
        // Several at once share twice the room of one.
        let room = min(mostBytes - collected.count, 2 * mostBytes - heldBytes - collected.count)
        if skipping || frame.part.count > room {
            if frame.last { return .tooLong }
            return try keep(.skipping, frame.sequence)
        }
        collected += frame.part
        if frame.last { return .complete(collected) }
        heldBytes += collected.count
        return try keep(.collecting(collected), frame.sequence)
    }

    private mutating func keep(_ entry: Entry, _ sequence: UInt64) throws(WireError) -> Outcome {
        guard entries.count < Self.mostEntries else {
            throw WireError(reason: "more than \(Self.mostEntries) commands in parts", offset: 0)
        }
        entries[sequence] = entry
        return .incomplete
    }
}
