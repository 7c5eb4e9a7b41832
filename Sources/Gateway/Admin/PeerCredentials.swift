// Who is at the other end of the administration socket, as the kernel vouches for it. The socket's mode keeps others out
// already; this also holds when someone loosens the mode.
import Glibc
import NIOCore

/// The kernel's `struct ucred`.
private struct Credentials: Sendable {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
}

/// Supplementary groups; places that are not used are 0.
private struct Groups: Sendable {
    var ids = InlineArray<1024, UInt32>(repeating: 0)
}

enum PeerCredentials {
    /// Whether the peer is root, runs as the same user as this process, or was in the group when it connected.
    static func mayAdminister(_ channel: any Channel, group: UInt32?) async -> Bool {
        guard let provider = channel as? any SocketOptionProvider else { return false }
        let credentials: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        guard let peer = try? await credentials.get() else { return false }
        if peer.uid == 0 || peer.uid == geteuid() { return true }
        guard let group, group != 0 else { return false }
        if peer.gid == group { return true }
        let groups: EventLoopFuture<Groups> = provider.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERGROUPS))
        guard let ids = try? await groups.get().ids else { return false }
        return ids.indices.contains { ids[$0] == group }
    }
}
