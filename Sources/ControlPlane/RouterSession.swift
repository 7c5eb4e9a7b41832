// What a RouterClient and its thread share. The thread alone touches the socket and the assembler; streams and
// commands waiting to be sent are behind a lock. A socket pair wakes the thread.
import Glibc
import Synchronization
import Syscall
import Wire

/// One connection to a router, with the sequences on it.
final class RouterSession: Sendable {
    private enum Phase {
        case open
        /// The thread is to end, for this reason.
        case closing(String)
        case lost(String)
    }

    private struct State {
        var phase = Phase.open
        var next: UInt64 = 1
        var streams: [UInt64: AsyncStream<RouterUpdate>.Continuation] = [:]
        /// Told what sequences cost until the router has let go of them, which may be later than their streams.
        var meters: [UInt64: @Sendable (SequenceCost) -> Void] = [:]
        /// Frames not sent yet.
        var outgoing: [[UInt8]] = []
    }

    private let state = Mutex(State())
    private let socket: Descriptor
    private let epoll: Epoll
    private let bell: Descriptor
    private let ear: Descriptor

    private static let socketToken: UInt64 = 0
    private static let earToken: UInt64 = 1

    init(socket: Descriptor) throws(SyscallError) {
        self.socket = socket
        (bell, ear) = try Seqpacket.pair()
        epoll = try Epoll()
        try epoll.add(socket.raw, token: Self.socketToken)
        try epoll.add(ear.raw, token: Self.earToken)
    }

    var isLost: Bool { state.withLock { if case .open = $0.phase { false } else { true } } }

    /// The thread keeps the session alive until it ends.
    func startThread() throws(SyscallError) { try DetachedThread.start { self.serve() } }

    func start(
        _ spec: GenerateSpec, cost: @escaping @Sendable (SequenceCost) -> Void
    ) -> AsyncStream<RouterUpdate> {
        let (stream, continuation) = AsyncStream.makeStream(of: RouterUpdate.self)
        let started: Result<UInt64, Ended> = state.withLock { state in
            switch state.phase {
            case .open: break
            case .closing(let reason), .lost(let reason): return .failure(Ended(reason: reason))
            }
            let number = state.next
            state.next += 1
            state.streams[number] = continuation
            state.meters[number] = cost
            state.outgoing += RouterFrame.cut(RouterCommand.generate(spec), sequence: number).map(\.frame)
            return .success(number)
        }
        switch started {
        case .success(let number):
            // After the lock: a task that is cancelled already runs the handler here and now.
            continuation.onTermination = { [weak self] in
                if case .cancelled = $0 { self?.cancel(number) }
            }
            ring()
        case .failure(let ended):
            continuation.yield(.lost(reason: ended.reason))
            continuation.finish()
        }
        return stream
    }

    func close(reason: String) {
        state.withLock { if case .open = $0.phase { $0.phase = .closing(reason) } }
        ring()
    }

    private struct Ended: Error { let reason: String }

    private func cancel(_ number: UInt64) {
        let known = state.withLock { state in
            guard state.streams.removeValue(forKey: number) != nil else { return false }
            state.outgoing += RouterFrame.cut(RouterCommand.cancel, sequence: number).map(\.frame)
            return true
        }
        if known { ring() }
    }

    /// A full bell rings already, so a failed send is none.
    private func ring() { try? Seqpacket.send(bell.raw, [1], wait: false) }

    // MARK: - The thread

    private func serve() {
        // A router sends one message after another: more than a few incomplete at once are a fault.
        var assembler = RouterAssembler(mostSequences: 4)
        var watching: Epoll.Interest = .readable
        do {
            while true {
                for event in try epoll.wait() {
                    if event.token == Self.earToken { listen() } else { try read(&assembler) }
                }
                if case .closing(let reason) = state.withLock({ $0.phase }) { throw Ended(reason: reason) }
                let wanted: Epoll.Interest = try write() ? .readable : [.readable, .writable]
                if wanted != watching { try epoll.modify(socket.raw, token: Self.socketToken, wanted) }
                watching = wanted
            }
        } catch let ended as Ended {
            end(ended.reason)
        } catch {
            end("\(error)")
        }
    }

    private func listen() {
        while (try? Seqpacket.receive(ear.raw, wait: false)) != nil {}
    }

    private func read(_ assembler: inout RouterAssembler) throws {
        while true {
            let packet: Packet
            do throws(SyscallError) {
                guard let received = try Seqpacket.receive(socket.raw, wait: false) else {
                    throw SyscallError(stage: "the router ended", errno: ECONNRESET)
                }
                packet = received
            } catch {
                if error.errno == EAGAIN { return }
                throw error
            }
            let frame = try RouterFrame(frame: packet.bytes)
            if let whole = try assembler.add(frame) { deliver(try RouterEvent(frame: whole), to: frame.sequence) }
        }
    }

    private func deliver(_ event: RouterEvent, to number: UInt64) {
        let last = event.isLast
        let (stream, meter) = state.withLock { state in
            last
                ? (state.streams.removeValue(forKey: number), state.meters.removeValue(forKey: number))
                : (state.streams[number], state.meters[number])
        }
        if case .used(let cost, _) = event {
            meter?(cost)
            return
        }
        stream?.yield(.event(event))
        if last { stream?.finish() }
    }

    /// Sends what the socket takes; true when nothing is left.
    private func write() throws(SyscallError) -> Bool {
        while let frame = state.withLock({ $0.outgoing.first }) {
            do throws(SyscallError) {
                try Seqpacket.send(socket.raw, frame, wait: false)
            } catch {
                if error.errno == EAGAIN { return false }
                throw error
            }
            // Others append only.
            state.withLock { _ = $0.outgoing.removeFirst() }
        }
        return true
    }

    private func end(_ reason: String) {
        // The socket itself closes with the session, which streams that nobody reads may keep for a while.
        shutdown(socket.raw, Int32(SHUT_RDWR))
        let streams = state.withLock { state in
            state.phase = .lost(reason)
            state.outgoing = []
            defer { (state.streams, state.meters) = ([:], [:]) }
            return state.streams.values.map { $0 }
        }
        for stream in streams {
            stream.yield(.lost(reason: reason))
            stream.finish()
        }
    }
}
