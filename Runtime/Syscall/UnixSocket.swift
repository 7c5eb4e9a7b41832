// Listening on and connecting to unix sockets by path. A socket's path holds 107 bytes, data folders can
// be deeper: a long one is reached through an open descriptor of its folder, /proc/self/fd/N/name.
import CLinux
import Glibc

/// The process at the other end of a unix socket, as the kernel vouches for it.
public struct Peer: Sendable {
    public let pid: Int32
    public let uid: UInt32
    public let gid: UInt32
}

public enum UnixSocket {
    public enum Kind: Int32, Sendable {
        case stream = 1
        case seqpacket = 5
    }

    /// A path of at most 107 bytes that leads to `path`, good as long as the folder's descriptor beside it is open;
    /// if the folder cannot be opened, `path` itself, so that the failure is that of the call.
    public static func shortened(_ path: String) -> (path: String, folder: Descriptor?) {
        guard path.utf8.count > 107, let cut = path.lastIndex(of: "/") else { return (path, nil) }
        let raw = open(String(path[..<cut]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard raw >= 0 else { return (path, nil) }
        return ("/proc/self/fd/\(raw)\(path[cut...])", Descriptor(owning: raw))
    }

    /// Runs `body` with a short path that leads to `path`.
    public static func withShortPath<T, Failure: Error>(
        _ path: String, _ body: (String) throws(Failure) -> T
    ) throws(Failure) -> T {
        let short = shortened(path)
        defer { withExtendedLifetime(short.folder) {} }
        return try body(short.path)
    }

    /// Listens on `path` with the given mode, replacing a socket file that nobody holds any more.
    /// The caller holds the data folder's lock, so a file that exists is a leftover.
    public static func listen(_ path: String, kind: Kind, mode: UInt32 = 0o600) throws(SyscallError) -> Descriptor {
        try withShortPath(path) { short throws(SyscallError) in
            unlink(short)
            return Descriptor(
                owning: try check(locum_unix_listen(short, kind.rawValue, 128, mode), "listen on \(path)"))
        }
    }

    public static func connect(_ path: String, kind: Kind) throws(SyscallError) -> Descriptor {
        try withShortPath(path) { short throws(SyscallError) in
            Descriptor(owning: try check(locum_unix_connect(short, kind.rawValue), "connect to \(path)"))
        }
    }

    /// The next waiting connection (non-blocking), nil when there is none.
    public static func accept(_ listener: Int32) throws(SyscallError) -> Descriptor? {
        let raw = locum_accept(listener)
        if raw >= 0 { return Descriptor(owning: raw) }
        let number = errno
        switch number {
        case EAGAIN, EINTR, ECONNABORTED: return nil
        default: throw SyscallError(stage: "accept a connection", errno: number)
        }
    }

    public static func peer(of socket: Int32) throws(SyscallError) -> Peer {
        var (pid, uid, gid): (pid_t, uid_t, gid_t) = (0, 0, 0)
        try check(locum_peer(socket, &pid, &uid, &gid), "read the peer's credentials")
        return Peer(pid: pid, uid: uid, gid: gid)
    }

    /// Whether the peer was in a group when it connected.
    public static func peer(of socket: Int32, isIn group: UInt32) -> Bool { locum_peer_has_group(socket, group) == 1 }
}
