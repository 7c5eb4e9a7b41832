// A control plane that says a fixed text, or nothing until it is cancelled, or an error; and a client that speaks
// HTTP by hand, so that what is on the wire is what is tested.
import ControlPlane
import FunctionModel
import Glibc
import Logging
import Observability
import NIOCore
import NIOPosix
import Synchronization
import Syscall
import Wire

@testable import Gateway

/// One tenant that is not told apart from others.
final class FakeTenants: TenantAdministration {
    let limits = Mutex(TenantLimits())
    private var tenant: TenantRecord { TenantRecord(name: "a", limits: limits.withLock { $0 }, createdAt: 1) }
    var reports: [TenantReport] { [TenantReport(tenant, active: 1, waiting: 2)] }
    func report(_ name: String) throws(ControlFailure) -> TenantReport {
        guard name == "a" else { throw ControlFailure(code: "not_found", message: "there is no tenant \(name)") }
        return reports[0]
    }
    func create(_ name: String, _ limits: TenantLimits) throws(ControlFailure) -> TenantReport {
        guard name == "a" else { throw ControlFailure(code: "exists", message: "there is a tenant \(name) already") }
        self.limits.withLock { $0 = limits }
        return reports[0]
    }
    func set(_ name: String, _ edit: (inout TenantLimits) -> Void) throws(ControlFailure) -> TenantReport {
        limits.withLock { edit(&$0) }
        return try report(name)
    }
    func createKey(for name: String) throws(ControlFailure) -> NewKey { NewKey(id: "locum-abc", key: "locum-abcdef") }
    func createKey(_ role: OperatorRole) throws(ControlFailure) -> NewKey {
        NewKey(id: "locum-\(role)", key: "locum-\(role)-key")
    }
    var keys: [KeyReport] {
        [KeyReport(OperatorKey(role: .admin, key: KeyRecord(id: "locum-adm", hash: [], createdAt: 1)))]
    }
    let restoredKeys = Mutex<[BackupIndex.Key]>([])
    func restore(_ key: BackupIndex.Key) throws(ControlFailure) -> KeyReport {
        restoredKeys.withLock { $0.append(key) }
        return keys[0]
    }
    func revokeKey(_ text: String) throws(ControlFailure) -> KeyReport {
        KeyReport(KeyRecord(id: text, hash: [], createdAt: 1), tenant: "a")
    }
    let restored = Mutex<[BackupIndex.Tenant]>([])
    func restore(_ tenant: BackupIndex.Tenant) throws(ControlFailure) -> TenantReport {
        restored.withLock { $0.append(tenant) }
        return reports[0]
    }
}

final class FakeControl: ControlService {
    enum Mood: Sendable {
        case speaks
        case hangs
        /// Says two tokens first.
        case hangsLater
        case fails(code: String)
        case failsLater
        case refuses(code: String)
    }
    let mood = Mutex(Mood.speaks)
    let asked = Mutex(0)
    let cancelled = Mutex(0)
    let evicted = Mutex<[String]>([])

    let administration = FakeTenants()
    let events = EventLog { 7 }
    let logs = Feed<LogReport>(most: 9)
    var tenants: any TenantAdministration { administration }
    /// Keys that there are, and whose; none: everybody may ask.
    let keys = Mutex<[String: Caller]>([:])
    /// The operator's, and what they open.
    let operatorKeys = Mutex<[String: OperatorRole]>([:])
    let callers = Mutex<[Caller]>([])
    func access(showing key: String?) throws(ControlFailure) -> Access {
        let (keys, operatorKeys) = (keys.withLock { $0 }, operatorKeys.withLock { $0 })
        if let role = key.flatMap({ operatorKeys[$0] }) { return .keyed(role) }
        if keys.isEmpty && operatorKeys.isEmpty { return .models(.local) }
        guard let key, let caller = keys[key] else {
            throw key == nil
                ? ControlFailure(code: "unauthorized", message: "no key was given") : Tenants.wrongKey
        }
        return .models(caller)
    }
    func allowance(of caller: Caller) -> TokenAllowance? {
        caller == .local ? nil : TokenAllowance(limit: 600, remaining: 590, reset: .milliseconds(1000))
    }

    func models(for caller: Caller) async -> [ModelSummary] {
        caller == .tenant("b") ? [] : [ModelSummary(record, instances: 0)]
    }
    func describe(_ model: String, for caller: Caller) async throws(ControlFailure) -> ModelDescription {
        guard model == "m" else { throw ControlFailure(code: "not_found", message: "no model is named \(model)") }
        return ModelDescription(record, functions: [], prediction: nil, lanes: 2)
    }
    func instances() async -> [InstanceReport] { [] }
    func evict(_ target: String) async throws(ControlFailure) -> EvictReport {
        evicted.withLock { $0.append(target) }
        return EvictReport(evicted: 3)
    }
    func remove(_ model: String) async throws(ControlFailure) -> EvictReport {
        guard model == "m" else { throw ControlFailure(code: "not_found", message: "no model is named \(model)") }
        return EvictReport(evicted: 1)
    }
    func remove(tenant: String, withModels: Bool) async throws(ControlFailure) -> TenantReport {
        guard tenant == "a", withModels else { throw ControlFailure(code: "in_use", message: "it has models") }
        return try administration.report(tenant)
    }
    func find(_ model: String, for caller: Caller) async throws(ControlFailure) -> String { model }
    func status() async -> StatusReport {
        StatusReport(
            version: "test", node: "n", nodeConnected: true, uptimeSeconds: 1, models: 1, instances: 0,
            sequencesActive: 0,
            sequencesQueued: 0, coldStarts: 0, warmAcquisitions: 0, invocations: 0, evictions: 0, crashes: 0,
            coldStartMicroseconds: Percentiles(p50: nil, p99: nil),
            routerColdStartMicroseconds: Percentiles(p50: 1, p99: 2),
            memory: MemoryReport(
                budgetBytes: 5, usedBytes: 4, residentShardBytes: 2, privateBytes: 1, kvBytes: 1),
            sandbox: ["seccomp": "yes"])
    }
    func usage(tenant: String?, from: Int64?, to: Int64?) async throws(ControlFailure) -> [UsageRow] {
        var counts = UsageCounts()
        (counts.requests, counts.expertMicroseconds, counts.kilobyteMilliseconds) = (1, 2500, 1_234_567)
        return [UsageRow(UsageKey(tenant: "a", model: "m", key: "locum-12345678"), counts)]
    }
    let hours = Mutex<[UsageHour]>([])
    func usageHours(from: Int64) async throws(ControlFailure) -> [UsageHour] {
        hours.withLock { $0.filter { $0.hour >= from } }
    }
    func restore(_ new: [UsageHour]) async throws(ControlFailure) { hours.withLock { $0 += new } }
    func metrics() async -> [MetricFamily] { [MetricFamily(.gauge, "locum_fake", "Of control.", 1)] }
    func backup() async -> BackupIndex { BackupIndex(locum: "test", models: [BackupIndex.Model(record)], tenants: []) }
    func verify() async throws(ControlFailure) -> VerifyReport { VerifyReport(shards: 1, damaged: [], older: []) }

    func generate(
        _ model: String, _ specs: [GenerateSpec], for caller: Caller
    ) async throws(ControlFailure) -> [AsyncStream<RouterEvent>] {
        callers.withLock { $0.append(caller) }
        guard model == "m" else { throw ControlFailure(code: "not_found", message: "no model is named \(model)") }
        asked.withLock { $0 += 1 }
        let mood = mood.withLock { $0 }
        if case .refuses(let code) = mood { throw ControlFailure(code: code, message: "refused: \(code)") }
        return specs.map { _ in
            let (stream, sink) = AsyncStream<RouterEvent>.makeStream()
            sink.onTermination = { [self] in if case .cancelled = $0 { cancelled.withLock { $0 += 1 } } }
            let tokens: [RouterEvent] = ["Once ", "upon\n\"a\" ", "time"].enumerated().map {
                .token(index: UInt32($0), id: Int32($0), text: $1, score: nil)
            }
            var events: [RouterEvent] = [.started(prompt: [1, 2], text: "ab", cached: 0)]
            switch mood {
            case .speaks: events += tokens + [.finished(.length, text: "", tokens: 3)]
            case .hangs: events = []
            case .hangsLater: events += tokens.prefix(2)
            case .fails(let code):
                events = [.failed(code: code, parameter: "max_tokens", message: "it failed: \(code)")]
            case .failsLater: events += tokens.prefix(2) + [.failed(code: "crashed", parameter: "", message: "it died")]
            case .refuses: break
            }
            for event in events { sink.yield(event) }
            switch mood {
            case .hangs, .hangsLater: held.withLock { $0.append(sink) }
            default: sink.finish()
            }
            return stream
        }
    }

    /// Streams that go on until they are cancelled.
    private let held = Mutex<[AsyncStream<RouterEvent>.Continuation]>([])

    private var record: ModelRecord {
        let manifest = ImportManifest(
            architecture: "qwen2_moe", parameters: 1, sourceFormat: "gguf", quantization: "F32", context: 8,
            kvType: "f16",
            hidden: 8, layers: 1, experts: 1, expertsPerToken: 1, vocabulary: 8, hasChatTemplate: false, functions: [],
            bytes: 1)
        return ModelRecord(
            name: "m", revision: 1, manifest: manifest,
            options: DeployRecord(expertsPerFunction: 1, layersPerFunction: 1, quantize: "", context: 0, kvType: "f16"),
            deployedAt: 99, node: "n", functions: [])
    }
}

/// The number in an answer's first line.
func status(_ answer: String) -> Int { Int(answer.dropFirst("HTTP/1.1 ".count).prefix(3)) ?? 0 }

/// A gateway on a free port, running until the test process ends.
struct RunningGateway: Sendable {
    let control = FakeControl()
    let port: UInt16

    init(_ limits: ConnectionLimits = ConnectionLimits(), tls: TLSFiles? = nil) async {
        let (ports, sink) = AsyncStream<Int>.makeStream()
        let gateway = Gateway(
            control: control, group: MultiThreadedEventLoopGroup.singleton, limits: limits,
            logger: Logger(label: "test"))
        Task {
            try await gateway.serveInference(.host("127.0.0.1", port: 0), tls: tls) { sink.yield($0?.port ?? 0) }
        }
        var port = 0
        for await value in ports {
            port = value
            break
        }
        self.port = UInt16(port)
    }

    /// A request as text; answers all that comes until the server has nothing more to say.
    func exchange(_ request: String) async throws -> String {
        try await blocking { [port] in
            let client = Client(port: port)
            client.send(request)
            return client.readAnswer()
        }
    }

    func post(_ path: String, _ body: String, headers: String = "Content-Type: application/json\r\n") async throws
        -> String
    {
        try await exchange(
            "POST \(path) HTTP/1.1\r\nHost: localhost\r\n\(headers)Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)"
        )
    }
}

/// A blocking socket; used on threads of its own.
final class Client: Sendable {
    private let socket: Int32

    init(port: UInt16) {
        socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    init(path: String) {
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    deinit { close(socket) }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let n = bytes[sent...].withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard n > 0 else { return }
            sent += n
        }
    }

    /// Whether anything can be read now.
    var hasAnswer: Bool {
        var byte: UInt8 = 0
        return recv(socket, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) > 0
    }

    /// Whether the server has ended the connection within `microseconds`; what it sends is thrown away.
    func isClosed(after microseconds: UInt32) -> Bool {
        usleep(microseconds)
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let n = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if n <= 0 { return n == 0 || errno != EAGAIN }
        }
    }

    /// Sends no more, like `nc -N`.
    func closeSending() { shutdown(socket, Int32(SHUT_WR)) }

    /// Until the server closes, or `enough` is in it.
    func readAnswer(until enough: String? = nil) -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let n = recv(socket, &buffer, buffer.count, 0)
            guard n > 0 else { break }
            bytes += buffer.prefix(n)
            if let enough, String(decoding: bytes, as: UTF8.self).contains(enough) { break }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Runs blocking work on a thread of its own: Swift's pool has as many threads as cores, and the server needs them.
func blocking<T: Sendable>(_ body: @escaping @Sendable () -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        do { try DetachedThread.start { continuation.resume(returning: body()) } } catch {
            continuation.resume(throwing: error)
        }
    }
}
