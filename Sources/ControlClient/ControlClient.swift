// The CLI's way to control: HTTP/1.1 over an administration socket. One connection per
// request and blocking, because a command does one thing; NIO does the parsing. A socket path deeper than
// 107 bytes is reached through a descriptor of its folder.
public import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOPosix
import Syscall

/// What went wrong between the CLI and its daemon, in words for a person.
public struct ControlError: Error, Sendable, CustomStringConvertible {
    public enum Kind: Sendable { case unreachable, notFound, failed }
    public let kind: Kind
    /// The stable code that control sent, or the client's own.
    public let code: String
    public let message: String

    public init(kind: Kind, code: String, message: String) {
        (self.kind, self.code, self.message) = (kind, code, message)
    }
    public var description: String { message }
}

/// A client of the administration API of one daemon.
public struct ControlClient: Sendable {
    private let socketPath: String
    private let hint: String

    /// - Parameters:
    ///   - socket: path of the administration socket.
    ///   - hint: what to do when nobody answers there.
    public init(socket: String, hint: String) { (socketPath, self.hint) = (socket, hint) }

    /// One request and its whole answer.
    /// - Throws: `ControlError`; `unreachable` when no daemon answers, `notFound` on 404, else `failed`.
    public func request(_ method: String, _ path: String, body: Data? = nil) throws(ControlError) -> Data {
        var whole = Data()
        try stream(method, path, body: body) {
            whole.append(contentsOf: $0); return true
        }
        return whole
    }

    /// The same, decoded.
    public func get<T: Decodable>(_ path: String, as type: T.Type = T.self) throws(ControlError) -> T {
        let data = try request("GET", path)
        do { return try JSONDecoder().decode(T.self, from: data) } catch {
            throw ControlError(
                kind: .failed, code: "bad_answer",
                message: "locum-control sent an answer to \(path) that this version cannot read: \(error)")
        }
    }

    /// A request whose answer is handed over as it comes; `each` answers false to stop early.
    public func stream(
        _ method: String, _ path: String, body: Data? = nil, each: (ArraySlice<UInt8>) -> Bool
    ) throws(ControlError) {
        let parts = AnswerQueue()
        let group = MultiThreadedEventLoopGroup.singleton
        let channel: any Channel
        do {
            channel = try UnixSocket.withShortPath(socketPath) { path in
                try ClientBootstrap(group: group)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHTTPClientHandlers()
                            try channel.pipeline.syncOperations.addHandler(AnswerHandler(queue: parts))
                        }
                    }
                    .connect(unixDomainSocketPath: path).wait()
            }
        } catch {
            throw ControlError(
                kind: .unreachable, code: "unreachable",
                message:
                    "no Locum daemon answers at \(socketPath) (\(error)). \(hint)")
        }
        defer { channel.close(promise: nil) }
        var head = HTTPRequestHead(version: .http1_1, method: HTTPMethod(rawValue: method), uri: path)
        head.headers.add(name: "Host", value: "localhost")
        head.headers.add(name: "Connection", value: "close")
        if let body {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: "\(body.count)")
        }
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        if let body {
            channel.write(HTTPClientRequestPart.body(.byteBuffer(ByteBuffer(bytes: body))), promise: nil)
        }
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        try consume(parts, path: path, each: each)
    }

    private func consume(
        _ parts: AnswerQueue, path: String, each: (ArraySlice<UInt8>) -> Bool
    ) throws(ControlError) {
        var status = 0
        var failure: [UInt8] = []
        while true {
            switch parts.next() {
            case .status(let code): status = Int(code)
            case .bytes(let bytes):
                if status >= 400 { failure += bytes } else if !each(bytes[...]) { return }
            case .end:
                if status >= 400 { throw Self.error(status: status, body: failure) }
                return
            case .broken(let why):
                throw ControlError(
                    kind: .failed, code: "broken",
                    message:
                        "the connection to locum-control ended during \(path): \(why). If it was restarted, try again.")
            }
        }
    }

    private static func error(status: Int, body: [UInt8]) -> ControlError {
        struct Body: Decodable {
            struct Inner: Decodable { let message: String, code: String? }
            let error: Inner
        }
        let inner = try? JSONDecoder().decode(Body.self, from: Data(body)).error
        let text = inner?.message ?? "locum-control answered \(status): \(String(decoding: body, as: UTF8.self))"
        return ControlError(
            kind: status == 404 ? .notFound : .failed, code: inner?.code ?? "http_\(status)", message: text)
    }
}
