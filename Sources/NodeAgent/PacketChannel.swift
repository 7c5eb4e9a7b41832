// A seqpacket socket in the loop. Its peer may be hostile, slow or gone: what it sends is bounded and what
// it does not read is queued up to a bound, never waited for. Descriptors in the queue stay owned by it, so
// they are closed when the channel ends before they were sent.
import CLinux
import Glibc
import Syscall

/// Whole messages to and from one peer, without ever blocking.
final class PacketChannel {
    /// Why a channel ended.
    enum End: Equatable {
        /// The peer closed or died.
        case closed
        /// The peer sent something that is no message.
        case malformed(String)
        /// The peer does not read what it is sent.
        case congested
    }

    private enum State {
        case open(EventLoop.Token)
        case closed
    }

    /// Messages that may wait for a peer that does not read, and for how long.
    static let mostQueued = 4096
    static let patience = UInt64.seconds(10)

    let socket: Descriptor
    private let loop: EventLoop
    private var state = State.closed
    private var queue: [Packet] = []
    /// Packets before this index have been sent.
    private var head = 0
    private var writable = false
    private var isEnding = false
    private var stalled: EventLoop.Timer?
    private var retry: EventLoop.Timer?
    private let onPacket: (Packet) -> Void
    /// Called once, unless `close` came first.
    private let onEnd: (End) -> Void

    /// Takes over a connected socket and starts listening to it.
    init(
        _ loop: EventLoop, _ socket: Descriptor, onPacket: @escaping (Packet) -> Void, onEnd: @escaping (End) -> Void
    ) throws(SyscallError) {
        (self.loop, self.socket, self.onPacket, self.onEnd) = (loop, socket, onPacket, onEnd)
        try socket.setNonblocking(true)
        state = .open(try loop.watch(socket.raw) { [weak self] ready in self?.handle(ready) })
    }

    var isOpen: Bool {
        if case .open = state { true } else { false }
    }

    /// Messages that the peer has not taken yet.
    var backlog: Int { queue.count - head }

    /// Sends a message, or queues it. After the end it is dropped.
    func send(_ bytes: [UInt8], _ descriptors: [Descriptor] = []) {
        guard isOpen else { return }
        queue.append(Packet(bytes: bytes, descriptors: descriptors))
        if backlog > Self.mostQueued {
            endSoon(.congested)
        } else if backlog == 1 {
            flush()
        }
    }

    /// Ends the channel from this side, silently.
    func close() {
        guard case .open(let token) = state else { return }
        // What the peer sent and nobody read would turn its next receive into ECONNRESET and cost it our
        // last message.
        for _ in 0..<64 {
            guard (try? Seqpacket.receive(socket.raw, wait: false)) != nil else { break }
        }
        state = .closed
        loop.unwatch(token, socket.raw)
        shutdown(socket.raw, Int32(SHUT_RDWR))
        loop.cancel(stalled)
        loop.cancel(retry)
        (queue, head) = ([], 0)
    }

    /// The owner is told while the channel is open: it may have a last word for the peer.
    private func end(_ reason: End) {
        guard isOpen, !isEnding else { return }
        isEnding = true
        onEnd(reason)
        close()
    }

    /// For use inside `send`, whose caller is in the middle of something.
    private func endSoon(_ reason: End) { loop.soon { [weak self] in self?.end(reason) } }

    // MARK: Receiving

    /// Takes what a peer that has ended sent before: its last words may be why.
    func hearLastWords() { receive(atMost: 64) }

    private func handle(_ ready: Epoll.Interest) {
        if ready.contains(.writable) { flush() }
        guard !ready.isDisjoint(with: [.readable, .hungUp, .failed]) else { return }
        // A talkative peer gets 16 messages, then the others have their turn.
        receive(atMost: 16)
    }

    private func receive(atMost count: Int) {
        for _ in 0..<count where isOpen && !isEnding {
            guard receiveOne() else { return }
        }
    }

    /// False when there is nothing more for now.
    private func receiveOne() -> Bool {
        var count = Int32(Seqpacket.mostDescriptors)
        var truncated = false
        let (got, failure, descriptors) = withUnsafeTemporaryAllocation(of: Int32.self, capacity: Int(count)) { fds in
            let got = locum_receive(
                socket.raw, loop.scratch.baseAddress, loop.scratch.count, fds.baseAddress, &count, &truncated,
                LOCUM_MSG_DONTWAIT)
            let failure = errno
            return (got, failure, fds.prefix(got < 0 ? 0 : Int(count)).map { Descriptor(owning: $0) })
        }
        if got < 0 {
            if failure != EAGAIN { end(.closed) }
            return false
        }
        if truncated {
            end(.malformed("a message is longer than \(Seqpacket.longest) bytes or has too many descriptors"))
            return false
        }
        if got == 0 {
            end(descriptors.isEmpty ? .closed : .malformed("a message holds descriptors only"))
            return false
        }
        onPacket(Packet(bytes: Array(loop.scratch[..<got]), descriptors: descriptors))
        return true
    }

    // MARK: Sending

    private func flush() {
        let before = head
        while head < queue.count {
            let packet = queue[head]
            do {
                try Seqpacket.send(
                    socket.raw, packet.bytes, descriptors: packet.descriptors.map(\.raw), wait: false)
                queue[head] = Packet(bytes: [])
                head += 1
            } catch {
                switch error.errno {
                case EAGAIN: wait(forWriting: true, progress: head > before)
                // Too many descriptors in flight for this user, or no memory for buffers: both pass.
                case ETOOMANYREFS, ENOBUFS, ENOMEM: wait(forWriting: false, progress: head > before)
                default: endSoon(.closed)
                }
                return
            }
        }
        (queue, head) = ([], 0)
        loop.cancel(stalled)
        stalled = nil
        setWritable(false)
    }

    private func wait(forWriting: Bool, progress: Bool) {
        if progress {
            loop.cancel(stalled)
            stalled = nil
        }
        if head > 256 {
            queue.removeFirst(head)
            head = 0
        }
        if stalled == nil {
            stalled = loop.after(Self.patience) { [weak self] in self?.end(.congested) }
        }
        setWritable(forWriting)
        if !forWriting {
            retry = loop.after(.milliseconds(2)) { [weak self] in self?.flush() }
        }
    }

    private func setWritable(_ on: Bool) {
        guard on != writable, case .open(let token) = state else { return }
        writable = on
        do {
            try loop.change(token, socket.raw, on ? [.readable, .writable] : .readable)
        } catch {
            endSoon(.closed)
        }
    }
}
