// The caller's side of acquiring: asks node for functions and turns its answers into links. Blocking, one
// thread at a time; used by the CLI and the gateway over invoke.sock, and by a router over its channel.
import CLinux
import Glibc
public import Syscall
public import Wire

/// Node refused, or the connection broke.
public struct InvokeError: Error, Sendable, CustomStringConvertible {
    /// Stable: `not_found`, `denied`, `unavailable`, `crashed`, `broken`, …
    public let code: String
    public let message: String
    public init(code: String, message: String) { (self.code, self.message) = (code, message) }
    public var description: String { message }
}

/// A connection to node on which functions are acquired.
public final class InvokeConnection {
    /// To be watched for `revoked` events between calls.
    public let socket: Descriptor
    /// Written by this caller, read by all its callees; nil before the first link.
    public private(set) var requestArena: Mapping?
    private let names: [String]
    private var nextRequest: UInt32 = 1
    /// Links whose instance left, as node told meanwhile; the owner takes and closes them.
    public private(set) var revoked: [UInt64] = []
    /// Set by `drain` on a worker's channel.
    public private(set) var draining = false
    /// Node wants to hear what is likely to be called next.
    public private(set) var wantsHints: Bool
    private var deferred: [Packet] = []
    /// Packets were deferred that nobody has taken yet.
    public var hasDeferred: Bool { !deferred.isEmpty }
    /// Node wants so many bytes of what is kept for requests to come. Called within whatever reads the connection.
    public var onReclaim: (Int) -> Void = { _ in }
    /// What node was told last.
    private var spared = 0
    /// The HTTP requests that what is acquired next is for, at most `RequestID.most`; node logs them.
    public var behalf: [RequestID] = []

    /// - Parameter callees: what the functions are called that `acquire(callees:)` means; empty on a router's channel,
    ///   where node knows them.
    public init(socket: Descriptor, callees: [String] = []) {
        (self.socket, names) = (socket, callees)
        wantsHints = callees.isEmpty
    }

    /// Connects to a node's invoke.sock.
    public convenience init(path: String, callees: [String] = []) throws(SyscallError) {
        self.init(socket: try UnixSocket.connect(path, kind: .seqpacket), callees: callees)
    }

    /// Links to the functions, in order. Starts those that are not warm.
    /// - Throws: `InvokeError`; nothing is kept of a request that failed.
    public func acquire(named functions: [String]) throws(InvokeError) -> [Link] {
        let request = take()
        return try links(
            request, .acquireNamed(request: request, functions: functions, behalf: behalf), count: functions.count)
    }

    /// The same by index in a router's own list.
    public func acquire(callees: [UInt32]) throws(InvokeError) -> [Link] {
        if !names.isEmpty { return try acquire(named: callees.map { names[Int($0)] }) }
        let request = take()
        return try links(request, .acquire(request: request, callees: callees, behalf: behalf), count: callees.count)
    }

    /// A router asks for room for a sequence. `reserved` or `failed` with this number comes among the deferred packets.
    public func reserve(_ bytes: Int) -> UInt32 {
        let request = take()
        try? Seqpacket.send(socket.raw, InvokeRequest.reserve(request: request, bytes: UInt64(bytes)).frame)
        return request
    }

    /// A sequence's room is free again.
    public func unreserve(_ bytes: Int) {
        try? Seqpacket.send(socket.raw, InvokeRequest.unreserve(bytes: UInt64(bytes)).frame)
    }

    /// Of what is reserved, so much is kept for requests to come; node may ask for it back.
    public func spare(_ bytes: Int) {
        guard bytes != spared else { return }
        spared = bytes
        try? Seqpacket.send(socket.raw, InvokeRequest.spare(bytes: UInt64(bytes)).frame)
    }

    /// These callees are likely to be called next. A hint: lost when node is busy.
    public func prefetch(_ callees: [UInt32]) {
        try? Seqpacket.send(socket.raw, InvokeRequest.prefetch(callees: callees).frame, wait: false)
    }

    /// Tells node that links were closed by this side. `faulty`: what came over them was wrong or did not come.
    public func release(_ links: [UInt64], faulty: Bool = false) {
        guard !links.isEmpty else { return }
        try? Seqpacket.send(socket.raw, InvokeRequest.released(links: links, faulty: faulty).frame)
    }

    /// Removes a model and returns when it is gone.
    /// - Throws: `InvokeError`.
    public func remove(_ model: String) throws(InvokeError) {
        let request = take()
        return try ask(request, .remove(request: request, model: model)) { event, _ in
            if case .removed(request) = event { () } else { nil }
        }
    }

    /// Takes the list of revoked links.
    public func takeRevoked() -> [UInt64] {
        defer { revoked = [] }
        return revoked
    }

    /// Packets that are not answers to an acquisition (a worker's `accept`), in order of arrival.
    public func takeDeferred() -> [Packet] {
        defer { deferred = [] }
        return deferred
    }

    /// Reads what node has sent without waiting. False when node is gone.
    public func poll() throws(InvokeError) -> Bool {
        while true {
            do {
                guard let packet = try Seqpacket.receive(socket.raw, wait: false) else { return false }
                try note(packet)
            } catch let error as SyscallError {
                if error.errno == EAGAIN { return true }
                throw broken("\(error)")
            } catch let error as InvokeError {
                throw error
            } catch {
                throw broken("\(error)")
            }
        }
    }

    private func take() -> UInt32 {
        defer { nextRequest &+= 1 }
        return nextRequest
    }

    private func broken(_ why: String) -> InvokeError {
        InvokeError(code: "broken", message: "the connection to locum-node failed: \(why)")
    }

    private func note(_ packet: Packet) throws(InvokeError) {
        let event: InvokeEvent
        do throws(WireError) { event = try InvokeEvent(frame: packet.bytes) } catch { throw broken("\(error)") }
        switch event {
        case .revoked(let links): revoked += links
        case .drain: draining = true
        case .hints(let on): wantsHints = on && names.isEmpty
        case .reclaim(let bytes): onReclaim(Int(clamping: bytes))
        default: deferred.append(packet)
        }
    }

    /// Sends a request and reads on until `answer` finds what answers it, which is all that it takes; the rest is noted.
    /// - Throws: `InvokeError`, also node's own: of this request, or of the whole connection.
    private func ask<Answer>(
        _ request: UInt32, _ message: InvokeRequest, answer: (InvokeEvent, Packet) throws -> Answer?
    ) throws(InvokeError) -> Answer {
        do {
            do throws(SyscallError) {
                try Seqpacket.send(socket.raw, message.frame)
            } catch {
                // Closed already: why is in what it said before.
                guard error.peerIsGone else { throw error }
            }
            while true {
                guard let packet = try Seqpacket.receive(socket.raw) else { throw broken("node closed it") }
                let event = try InvokeEvent(frame: packet.bytes)
                if let found = try answer(event, packet) { return found }
                switch event {
                case .failed(0, let code, let text), .failed(request, let code, let text):
                    throw InvokeError(code: code, message: text)
                // A part of the answer.
                case .links(request, _, _, _): break
                default: try note(packet)
                }
            }
        } catch let error as InvokeError {
            throw error
        } catch {
            throw broken("\(error)")
        }
    }

    private func links(_ request: UInt32, _ message: InvokeRequest, count: Int) throws(InvokeError) -> [Link] {
        var result: [Link?] = Array(repeating: nil, count: count)
        return try ask(request, message) { event, packet in
            switch event {
            case .links(request, let arena, let grants, let last):
                try adopt(packet.descriptors, arena: Int(arena), grants, into: &result)
                try Seqpacket.send(socket.raw, InvokeRequest.taken(request: request).frame)
                guard last else { return nil }
                let whole = result.compactMap { $0 }
                guard whole.count == count else { throw broken("node left a function out") }
                return whole
            case .failed(request, _, _):
                release(result.compactMap { $0?.grant.link })
                return nil
            default: return nil
            }
        }
    }

    private func adopt(
        _ descriptors: [Descriptor], arena: Int, _ grants: [LinkGrant], into result: inout [Link?]
    ) throws {
        var rest = descriptors[...]
        func next() throws -> Descriptor {
            guard let first = rest.popFirst() else { throw broken("node sent too few descriptors") }
            return first
        }
        if arena > 0 { requestArena = try Mapping(try next().raw, count: arena, writable: true) }
        for grant in grants {
            guard Int(grant.position) < result.count else { throw broken("node granted position \(grant.position)") }
            var lanes: [Descriptor] = []
            for _ in 0..<grant.lanes { lanes.append(try next()) }
            let reply = try Mapping(try next().raw, count: Int(grant.replyArena), writable: false)
            result[Int(grant.position)] = Link(grant: grant, lanes: lanes, reply: reply)
        }
    }
}
