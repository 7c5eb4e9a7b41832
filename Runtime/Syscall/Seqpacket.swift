// Messages over SOCK_SEQPACKET: each send is one message, whole or not at all, with descriptors beside it.
import CLinux
import Glibc

/// One received message.
public struct Packet: Sendable {
    public var bytes: [UInt8]
    public var descriptors: [Descriptor]

    public init(bytes: [UInt8], descriptors: [Descriptor] = []) {
        self.bytes = bytes
        self.descriptors = descriptors
    }
}

/// Sending and receiving whole messages on a seqpacket socket.
public enum Seqpacket {
    /// The longest message that anybody sends here; the kernel's default send buffer takes it.
    public static let longest = 128 * 1024
    /// Descriptors that one message may carry (SCM_MAX_FD).
    public static let mostDescriptors = 253

    /// A connected pair, both ends close-on-exec.
    public static func pair() throws(SyscallError) -> (Descriptor, Descriptor) {
        var ends: [Int32] = [-1, -1]
        try check(locum_seqpacket_pair(&ends), "make a socket pair")
        return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
    }

    /// Sends one message.
    /// - Throws: `SyscallError`; errno EAGAIN when `wait` is false and the peer's buffer is full, EPIPE or
    ///   ECONNRESET when it is gone, EMSGSIZE when the message is too long.
    public static func send(
        _ socket: Int32, _ bytes: [UInt8], descriptors: [Int32] = [], wait: Bool = true
    ) throws(SyscallError) {
        let sent = locum_send(
            socket, bytes, bytes.count, descriptors, Int32(descriptors.count), wait ? 0 : LOCUM_MSG_DONTWAIT)
        try check(sent, "send a message of \(bytes.count) bytes and \(descriptors.count) descriptors")
    }

    /// Receives one message; nil at end of file. A peer that ended without reading what was sent to it is no
    /// error either: its last messages come first.
    /// - Throws: `SyscallError`; EAGAIN when there is none and `wait` is false or the socket is non-blocking;
    ///   EMSGSIZE when data or descriptors were cut off (the message is lost, its descriptors closed).
    public static func receive(_ socket: Int32, wait: Bool = true) throws(SyscallError) -> Packet? {
        let flags = wait ? 0 : LOCUM_MSG_DONTWAIT
        // A buffer for the longest message would cost a small process more than the messages it gets.
        let length = try check(locum_message_length(socket, flags), "receive a message")
        var descriptors: [Int32] = Array(repeating: -1, count: mostDescriptors)
        var count = Int32(mostDescriptors)
        var truncated = false
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: min(length, longest)) { buffer, filled in
            let got = locum_receive(
                socket, buffer.baseAddress, buffer.count, &descriptors, &count, &truncated, flags)
            if got < 0 { failure = errno }
            filled = max(0, got)
        }
        if failure != 0 { throw SyscallError(stage: "receive a message", errno: failure) }
        let owned = descriptors.prefix(Int(count)).map { Descriptor(owning: $0) }
        if truncated { throw SyscallError(stage: "receive a message (cut off)", errno: EMSGSIZE) }
        // An empty message without descriptors is how end of file looks; nobody here sends one.
        if bytes.isEmpty && owned.isEmpty { return nil }
        return Packet(bytes: bytes, descriptors: owned)
    }
}
