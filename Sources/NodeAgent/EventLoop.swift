// The node's one thread. Everything that happens is an event here: a readable socket, a deadline, a slice of
// longer work. There is no second thread, so the node can fork at any moment, a parent-death signal (which
// follows the thread that forked) lasts as long as the node, and no state needs a lock.
//
// Nobody may block in a handler. Work that would take longer than some milliseconds is a job: a function that
// does one slice and is called again while there is more, with a look at the sockets in between.
import CLinux
public import Syscall

/// An epoll loop with deadlines, deferred calls and sliced jobs. No wake-up without cause: idle is zero CPU.
public final class EventLoop {
    /// What a watched descriptor's handler is registered under.
    struct Token: Hashable { let number: UInt64 }
    struct Timer: Hashable { let deadline: UInt64, number: UInt64 }

    private let epoll: Epoll
    private var handlers: [UInt64: (Epoll.Interest) -> Void] = [:]
    /// Ascending by deadline, then by number.
    private var timers: [(key: Timer, body: () -> Void)] = []
    private var deferred: [() -> Void] = []
    private var jobs: [() -> Bool] = []
    private var next: UInt64 = 1
    /// Received messages land here first: one buffer for all channels.
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: Seqpacket.longest, alignment: 64)
    public private(set) var stopped = false

    public init() throws(SyscallError) { epoll = try Epoll() }

    deinit { scratch.deallocate() }

    private func number() -> UInt64 {
        defer { next += 1 }
        return next
    }

    // MARK: Descriptors

    /// Calls `handler` whenever `fd` is ready, until `unwatch`.
    func watch(
        _ fd: Int32, _ interest: Epoll.Interest = .readable, _ handler: @escaping (Epoll.Interest) -> Void
    ) throws(SyscallError) -> Token {
        let token = number()
        try epoll.add(fd, token: token, interest)
        handlers[token] = handler
        return Token(number: token)
    }

    func change(_ token: Token, _ fd: Int32, _ interest: Epoll.Interest) throws(SyscallError) {
        try epoll.modify(fd, token: token.number, interest)
    }

    /// Takes effect at once, also for events already fetched.
    func unwatch(_ token: Token, _ fd: Int32) {
        guard handlers.removeValue(forKey: token.number) != nil else { return }
        epoll.remove(fd)
    }

    // MARK: Time

    /// Runs `body` once, `nanoseconds` from now.
    @discardableResult
    func after(_ nanoseconds: UInt64, _ body: @escaping () -> Void) -> Timer {
        let key = Timer(deadline: locum_monotonic_ns() &+ nanoseconds, number: number())
        timers.insert((key, body), at: position(of: key))
        return key
    }

    func cancel(_ timer: Timer?) {
        guard let timer else { return }
        let at = position(of: timer)
        if at < timers.count && timers[at].key == timer { timers.remove(at: at) }
    }

    private func position(of key: Timer) -> Int {
        var (low, high) = (0, timers.count)
        while low < high {
            let middle = (low + high) / 2
            let other = timers[middle].key
            if (other.deadline, other.number) < (key.deadline, key.number) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: Deferred work

    /// Runs `body` after the events at hand, before the next wait: so that what they caused is done once.
    func soon(_ body: @escaping () -> Void) { deferred.append(body) }

    /// Runs `slice` until it answers false, one slice a turn.
    func job(_ slice: @escaping () -> Bool) { jobs.append(slice) }

    // MARK: Running

    /// Turns until `stop`.
    public func run() throws(SyscallError) {
        while !stopped { try turn() }
    }

    public func stop() { stopped = true }

    /// One wait and what it brings. `atMost` bounds the wait in milliseconds (-1: by the next deadline only).
    public func turn(atMost: Int32 = -1) throws(SyscallError) {
        for event in try epoll.wait(timeoutMilliseconds: timeout(atMost)) { handlers[event.token]?(event.ready) }
        runTimers()
        runDeferred()
        if let first = jobs.first {
            jobs.removeFirst()
            // Behind the others, so that a short job does not wait for a long one.
            if first() { jobs.append(first) }
            runDeferred()
        }
    }

    private func timeout(_ atMost: Int32) -> Int32 {
        if stopped || !jobs.isEmpty || !deferred.isEmpty { return 0 }
        guard let deadline = timers.first?.key.deadline else { return atMost }
        let now = locum_monotonic_ns()
        let milliseconds = deadline <= now ? 0 : Int32(clamping: (deadline - now + 999_999) / 1_000_000)
        return atMost < 0 ? milliseconds : min(atMost, milliseconds)
    }

    private func runTimers() {
        guard !timers.isEmpty else { return }
        let now = locum_monotonic_ns()
        while let first = timers.first, first.key.deadline <= now {
            timers.removeFirst()
            first.body()
        }
    }

    private func runDeferred() {
        while !deferred.isEmpty {
            let batch = deferred
            deferred = []
            for body in batch { body() }
        }
    }
}

extension UInt64 {
    static func milliseconds(_ count: UInt64) -> UInt64 { count &* 1_000_000 }
    static func seconds(_ count: UInt64) -> UInt64 { count &* 1_000_000_000 }
}
