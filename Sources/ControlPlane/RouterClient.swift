// The caller's side of a link to a router: many sequences on one socket. A thread of its own reads and writes,
// because a router does not read while it computes and nothing may block a thread of Swift's pool. When the
// router is gone, every open stream ends with `lost`; whoever owns it acquires a router again and starts anew
// with the output so far as `resumed`.
import Glibc
public import Link
import Synchronization
public import Syscall
public import Wire

/// What a stream of a sequence yields.
public enum RouterUpdate: Sendable, Equatable {
    case event(RouterEvent)
    /// The router is gone, and this was not the sequence's end: acquire again and replay.
    case lost(reason: String)
}

/// Runs sequences on one router instance. Ends its link when the last reference goes.
public final class RouterClient: Sendable {
    private let session: RouterSession

    /// Takes over a link to a router.
    /// - Throws: `SyscallError` when the thread or what it waits on cannot be made.
    public convenience init(_ link: Link) throws(SyscallError) {
        guard let lane = link.lanes.first else { throw SyscallError(stage: "use a link without lanes", errno: EINVAL) }
        try self.init(socket: lane)
    }

    /// - Parameter socket: lane 0 of a link.
    public init(socket: Descriptor) throws(SyscallError) {
        session = try RouterSession(socket: socket)
        try session.startThread()
    }

    deinit { session.close(reason: "the link was closed") }

    /// Whether the router is known to be gone; streams started now end at once with `lost`.
    public var isLost: Bool { session.isLost }

    /// Starts a sequence. The stream ends after `finished`, `failed` or `lost`; dropping it or cancelling the
    /// task that reads it ends the sequence in the router.
    /// - Parameter cost: called with what it has cost so far, on the client's thread, until the router has let go of it.
    public func start(
        _ spec: GenerateSpec, cost: @escaping @Sendable (SequenceCost) -> Void = { _ in }
    ) -> AsyncStream<RouterUpdate> { session.start(spec, cost: cost) }

    /// Ends the link; open streams yield `lost`.
    public func close() { session.close(reason: "the link was closed") }
}
