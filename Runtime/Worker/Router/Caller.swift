// One caller of a router: the socket of its link and what is in transit on it, both ways. Lane 0 alone is used;
// the arenas of the link are not (prompts and tokens are small). Nothing that a caller does or leaves undone can
// make the router wait.
import Glibc
import Syscall
import Wire

/// The router's end of a link.
final class Caller {
    enum Arrival {
        case command(RouterCommand, sequence: UInt64)
        /// A command too long to be taken; its sequence is refused.
        case tooLong(sequence: UInt64)
        /// It left or broke the protocol, and is to be cut off.
        case end

        var isNewSequence: Bool { if case .command(.generate, _) = self { true } else { false } }
    }

    /// Names it within the router, and its socket in the epoll set.
    let key: UInt64
    let socket: Descriptor
    var outbox = Outbox()
    /// Whether the epoll set also tells when the socket takes more.
    var watchesWritable = false
    /// Its number for the stream of routes, if it asked for one.
    var watch: UInt64?
    /// What it has said, still to be done.
    var heard: [Arrival] = []
    private var parts: CommandParts

    /// Frames read in one go, so that a chatty caller does not keep others waiting.
    private static let mostFrames = 64

    init(key: UInt64, socket: Descriptor, context: Int) {
        (self.key, self.socket) = (key, socket)
        parts = CommandParts(context: context)
    }

    /// Adds what has arrived to `heard`.
    func receive() {
        if case .end = heard.last { return }
        do {
            if try !receiveFrames() { heard.append(.end) }
        } catch {
            heard.append(.end)
        }
    }

    /// False when the caller is gone.
    private func receiveFrames() throws(WireError) -> Bool {
        for _ in 0..<Self.mostFrames {
            let packet: Packet
            do throws(SyscallError) {
                guard let received = try Seqpacket.receive(socket.raw, wait: false) else { return false }
                packet = received
            } catch {
                return error.errno == EAGAIN
            }
            let frame = try RouterFrame(frame: packet.bytes)
            switch try parts.add(frame) {
            case .incomplete: break
            case .complete(let bytes):
                heard.append(.command(try RouterCommand(frame: bytes), sequence: frame.sequence))
            case .tooLong: heard.append(.tooLong(sequence: frame.sequence))
            }
        }
        return true
    }
}
