// Who is at the other end of the administration socket, as the kernel vouches for it. The socket's mode 0600
// keeps others out already; this also holds when someone loosens the mode.
import Glibc
import NIOCore

/// The kernel's `struct ucred`.
private struct Credentials: Sendable {
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
}

enum PeerCredentials {
    /// Whether the peer is root or runs as the same user as this process.
    static func mayAdminister(_ channel: any Channel) async -> Bool {
        guard let provider = channel as? any SocketOptionProvider else { return false }
        let future: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
            level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        guard let peer = try? await future.get() else { return false }
        return peer.uid == 0 || peer.uid == geteuid()
    }
}
