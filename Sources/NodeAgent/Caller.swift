// Who may acquire functions: a connection to invoke.sock, or a router over the channel it was born with.
// Both are treated alike but for what they may name. A caller takes its links at its own pace, one message
// at a time, so that descriptors in flight stay few however many functions it asks for.
import Link
import Syscall
import Wire

/// One caller and what it holds.
final class Caller {
    enum Origin {
        case connection(Peer)
        case router(Instance)
    }

    /// Requests one caller may have under way, and links it may hold.
    static let mostAcquisitions = 64
    static let mostLinks = 16_384

    let id: UInt64
    let origin: Origin
    let channel: PacketChannel
    /// The read-only side of the memory it writes its requests into; made with its first link.
    private var requests: Descriptor?
    /// Oldest first.
    var acquisitions: [Acquisition] = []
    /// The request whose last message of links is unanswered.
    var awaitsTaken: UInt32?
    var links: Set<UInt64> = []
    /// Links to be told of as revoked at the end of this turn.
    var revoked: [UInt64] = []
    var isGone = false

    init(id: UInt64, origin: Origin, channel: PacketChannel) {
        (self.id, self.origin, self.channel) = (id, origin, channel)
    }

    /// The arena's read-only descriptor for a callee, and once the writable one for the caller itself.
    func requestArena() throws(SyscallError) -> (readable: Descriptor, firstTime: Descriptor?) {
        if let requests { return (requests, nil) }
        let memory = try SharedMemory(name: "locum-request", count: Arena.requestBytes)
        requests = memory.readable
        return (memory.readable, memory.writable)
    }

    /// The caller did not get the arena after all.
    func forgetArena() { requests = nil }

    func send(_ event: InvokeEvent, _ descriptors: [Descriptor] = []) { channel.send(event.frame, descriptors) }

    /// For control: the router's instance (0 for a connection) and the uid behind it.
    var identity: (instance: UInt64, uid: UInt32) {
        switch origin {
        case .connection(let peer): (0, peer.uid)
        case .router(let instance): (instance.id, 0)
        }
    }
}
