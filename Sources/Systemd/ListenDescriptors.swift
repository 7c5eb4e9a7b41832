// Sockets that the service manager listens on for a daemon (sd_listen_fds(3)): a client may connect before the daemon
// runs, and a restart refuses nobody. Each has the name that its unit gives it (FileDescriptorName=).
import CSystemd
import Glibc

/// The service manager passed what the daemon cannot use.
public struct ListenError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

public enum ListenDescriptors {
    /// What a socket must be.
    public enum Kind: Sendable {
        case unixStream
        case unixPackets
        /// TCP or unix.
        case stream

        fileprivate func fits(_ socket: Int32) -> Bool {
            switch self {
            case .unixStream: sd_is_socket(socket, AF_UNIX, Int32(SOCK_STREAM.rawValue), 1) > 0
            case .unixPackets: sd_is_socket(socket, AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 1) > 0
            case .stream: sd_is_socket(socket, AF_UNSPEC, Int32(SOCK_STREAM.rawValue), 1) > 0
            }
        }
    }

    /// Takes the sockets that were passed, close-on-exec; none without LISTEN_FDS. For the start of the program: the
    /// environment is changed, so a second call answers none.
    /// - Parameter known: those that the daemon has a use for, by name.
    /// - Throws: `ListenError` when one has another name or kind, or two have the same name.
    public static func take(_ known: [String: Kind]) throws(ListenError) -> [String: Int32] {
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = sd_listen_fds_with_names(1, &names)
        defer {
            for index in 0..<max(0, Int(count)) { free(names?[index]) }
            free(names)
        }
        guard count >= 0 else {
            throw ListenError(description: "LISTEN_FDS cannot be read: \(String(cString: strerror(-count)))")
        }
        var found: [String: Int32] = [:]
        for index in 0..<Int(count) {
            let name = names?[index].map { String(cString: $0) } ?? ""
            let socket = SD_LISTEN_FDS_START + Int32(index)
            guard let kind = known[name] else {
                throw ListenError(
                    description: "a socket named '\(name)' was passed; FileDescriptorName= of its unit must be one of "
                        + known.keys.sorted().joined(separator: ", "))
            }
            guard kind.fits(socket) else {
                throw ListenError(
                    description: "the socket named '\(name)' is of the wrong kind: it must listen, and be \(kind)")
            }
            guard found.updateValue(socket, forKey: name) == nil else {
                throw ListenError(description: "two sockets named '\(name)' were passed; one is needed")
            }
        }
        return found
    }
}

extension ListenDescriptors.Kind: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unixStream: "a unix stream socket (ListenStream=)"
        case .unixPackets: "a unix packet socket (ListenSequentialPacket=)"
        case .stream: "a stream socket (ListenStream=)"
        }
    }
}
