// One session with control: frames over a stream socket. There is one at a time, a new one replaces the old:
// a control that came back has no idea of what its predecessor started, so everything ends with a session.
import Syscall
import Wire

/// A session with control.
final class ControlSession {
    let number: UInt64
    /// Process that the session is with.
    let pid: Int32
    private var channel: StreamChannel?
    var greeted = false

    init(
        _ loop: EventLoop, _ socket: Descriptor, number: UInt64, pid: Int32,
        onCommand: @escaping (NodeCommand) throws(NodeAgentError) -> Void, onEnd: @escaping (String) -> Void
    ) throws(SyscallError) {
        (self.number, self.pid) = (number, pid)
        channel = try StreamChannel(
            loop, socket,
            onFrame: { [weak self] frame in
                do {
                    try onCommand(try NodeCommand(frame: frame))
                } catch {
                    self?.close()
                    onEnd("its message was refused: \(error)")
                }
            }, onEnd: onEnd)
    }

    /// False when the session is over.
    @discardableResult
    func send(_ event: NodeEvent) -> Bool {
        guard let channel, channel.isOpen else { return false }
        channel.send(event.frame)
        return true
    }

    func close() {
        channel?.close()
        channel = nil
    }
}
