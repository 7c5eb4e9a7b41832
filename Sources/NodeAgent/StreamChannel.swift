// The control session's byte stream: frames behind a 32-bit little-endian length. Control is trusted with
// policy, not with memory: a frame has a cap, and what control does not read is queued up to a bound.
import CLinux
import Glibc
import Syscall

/// Length-prefixed frames over a stream socket, without ever blocking.
final class StreamChannel {
    private enum State {
        case open(EventLoop.Token)
        case closed
    }

    /// Longest frame either way.
    static let longestFrame = 16 << 20
    /// Bytes that may wait for a peer that does not read.
    static let mostQueued = 64 << 20

    private let socket: Descriptor
    private let loop: EventLoop
    private var state = State.closed
    private var incoming: [UInt8] = []
    private var outgoing: [UInt8] = []
    /// Bytes before this index have been sent.
    private var sent = 0
    private var writable = false
    private let onFrame: ([UInt8]) -> Void
    /// Called once with the reason, unless `close` came first.
    private let onEnd: (String) -> Void

    init(
        _ loop: EventLoop, _ socket: Descriptor, onFrame: @escaping ([UInt8]) -> Void,
        onEnd: @escaping (String) -> Void
    ) throws(SyscallError) {
        (self.loop, self.socket, self.onFrame, self.onEnd) = (loop, socket, onFrame, onEnd)
        try socket.setNonblocking(true)
        state = .open(try loop.watch(socket.raw) { [weak self] ready in self?.handle(ready) })
    }

    var isOpen: Bool {
        if case .open = state { true } else { false }
    }

    func send(_ frame: [UInt8]) {
        guard isOpen else { return }
        let wasEmpty = outgoing.isEmpty
        let length = UInt32(frame.count)
        for shift in [0, 8, 16, 24] as [UInt32] { outgoing.append(UInt8(truncatingIfNeeded: length >> shift)) }
        outgoing += frame
        if outgoing.count - sent > Self.mostQueued {
            endSoon("it does not read what it is sent")
        } else if wasEmpty {
            // The frames of one turn leave in one write.
            loop.soon { [weak self] in self?.flush() }
        }
    }

    func close() {
        guard case .open(let token) = state else { return }
        state = .closed
        loop.unwatch(token, socket.raw)
        shutdown(socket.raw, Int32(SHUT_RDWR))
        (incoming, outgoing, sent) = ([], [], 0)
    }

    private func end(_ reason: String) {
        guard isOpen else { return }
        close()
        onEnd(reason)
    }

    private func endSoon(_ reason: String) { loop.soon { [weak self] in self?.end(reason) } }

    private func handle(_ ready: Epoll.Interest) {
        if ready.contains(.writable) { flush() }
        guard isOpen, !ready.isDisjoint(with: [.readable, .hungUp, .failed]) else { return }
        let got = recv(socket.raw, loop.scratch.baseAddress, loop.scratch.count, LOCUM_MSG_DONTWAIT)
        if got == 0 { return end("it closed the session") }
        if got < 0 {
            if errno != EAGAIN && errno != EINTR { end(String(cString: strerror(errno))) }
            return
        }
        incoming.append(contentsOf: loop.scratch[..<got])
        deliver()
    }

    private func deliver() {
        var at = 0
        while isOpen, incoming.count - at >= 4 {
            let length = (0..<4).reduce(0) { $0 | Int(incoming[at + $1]) << ($1 * 8) }
            guard length <= Self.longestFrame else {
                return end("a frame of \(length) bytes is longer than \(Self.longestFrame)")
            }
            guard incoming.count - at - 4 >= length else { break }
            let frame = Array(incoming[(at + 4)..<(at + 4 + length)])
            at += 4 + length
            onFrame(frame)
        }
        guard isOpen else { return }
        // An emptied buffer is let go of: a large frame must not stay as this process's memory.
        if at == incoming.count { incoming = [] } else { incoming.removeFirst(at) }
    }

    private func flush() {
        guard isOpen else { return }
        while sent < outgoing.count {
            let count = outgoing.withUnsafeBytes { bytes in
                Glibc.send(
                    socket.raw, bytes.baseAddress.map { $0 + sent }, bytes.count - sent,
                    LOCUM_MSG_DONTWAIT | Int32(MSG_NOSIGNAL))
            }
            if count < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN { return setWritable(true) }
                return end(String(cString: strerror(errno)))
            }
            sent += count
        }
        (outgoing, sent) = ([], 0)
        setWritable(false)
    }

    private func setWritable(_ on: Bool) {
        guard on != writable, case .open(let token) = state else { return }
        writable = on
        do {
            try loop.change(token, socket.raw, on ? [.readable, .writable] : .readable)
        } catch {
            end("\(error)")
        }
    }
}
