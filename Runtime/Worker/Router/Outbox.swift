// Events on their way to a caller. Sending never waits: what a slow reader does not take stays here, and once
// that is more than `bound`, the caller's sequences pause (others go on). So memory is bounded by the bound plus
// one step's events.
import Glibc
import Syscall
import Wire

/// Events of one caller that the socket has not taken yet.
struct Outbox {
    static let bound = 256 * 1024

    private struct Message {
        let sequence: UInt64
        var frames: ArraySlice<[UInt8]>
        var begun = false
        /// Of what was spent; it has to be paid whoever wants no answer any more.
        let isCost: Bool
    }

    private var messages: [Message] = []
    private var bytes = 0

    var isEmpty: Bool { messages.isEmpty }
    var isFull: Bool { bytes > Self.bound || messages.count > 1024 }
    /// More than sequences that pause when it is full can have left here.
    var isOverrun: Bool { bytes > 64 << 20 || messages.count > 8192 }

    mutating func add(_ event: RouterEvent, sequence: UInt64) {
        let frames = RouterFrame.cut(event, sequence: sequence).map(\.frame)
        bytes += frames.reduce(0) { $0 + $1.count }
        let isCost = if case .used = event { true } else { false }
        messages.append(Message(sequence: sequence, frames: frames[...], isCost: isCost))
    }

    /// Forgets a sequence's messages but those of its cost; of one that is partly sent the rest still goes, or the reader would wait for it.
    mutating func drop(_ sequence: UInt64) {
        var kept: [Message] = []
        for message in messages {
            if message.sequence != sequence || message.begun || message.isCost {
                kept.append(message)
            } else {
                bytes -= message.frames.reduce(0) { $0 + $1.count }
            }
        }
        messages = kept
    }

    /// Sends what the socket takes.
    /// - Throws: `SyscallError` when the caller is gone.
    mutating func flush(to socket: Int32) throws(SyscallError) {
        var first = 0
        defer { messages.removeFirst(first) }
        while first < messages.count {
            while let frame = messages[first].frames.first {
                do throws(SyscallError) {
                    try Seqpacket.send(socket, frame, wait: false)
                } catch {
                    if error.errno == EAGAIN { return }
                    throw error
                }
                bytes -= frame.count
                messages[first].frames.removeFirst()
                messages[first].begun = true
            }
            first += 1
        }
    }
}
