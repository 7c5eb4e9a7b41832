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
    }

    /// Names it within the router, and its socket in the epoll set.
    let key: UInt64
    let socket: Descriptor
    var outbox = Outbox()
    /// Whether the epoll set also tells when the socket takes more.
    var watchesWritable = false
    /// Its number for the stream of routes, if it asked for one.
    var watch: UInt64?
    private var parts: CommandParts

    /// Frames read in one go, so that a chatty caller does not keep others waiting.
    private static let mostFrames = 64

    init(key: UInt64, socket: Descriptor, context: Int) {
        (self.key, self.socket) = (key, socket)
        parts = CommandParts(context: context)
    }

    /// What has arrived; nil when the caller is gone.
    /// - Throws: `WireError` when it breaks the protocol: it is to be cut off.
    func receive() throws(WireError) -> [Arrival]? {
        var arrivals: [Arrival] = []
        for _ in 0..<Self.mostFrames {
            let packet: Packet
            do throws(SyscallError) {
                guard let received = try Seqpacket.receive(socket.raw, wait: false) else { return nil }
                packet = received
            } catch {
                if error.errno == EAGAIN { break }
                return nil
            }
            let frame = try RouterFrame(frame: packet.bytes)
            switch try parts.add(frame) {
            case .incomplete: break
            case .complete(let bytes):
                arrivals.append(.command(try RouterCommand(frame: bytes), sequence: frame.sequence))
            case .tooLong: arrivals.append(.tooLong(sequence: frame.sequence))
            }
        }
        return arrivals
    }
}
