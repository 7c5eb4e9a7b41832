// A router reached the one way there is: over invoke.sock, like the CLI and every other caller. Acquiring blocks
// (a cold start, or node being started again), so it has a thread of its own while it lasts.
import Glibc
import Link
import Syscall
public import Wire

/// A router function that was acquired on a connection of its own.
public final class InvokedRouter: RouterAccess {
    private let client: RouterClient
    /// Kept open: node takes its end as the end of the lease. Nothing but a complaint is sent on it any more.
    private nonisolated(unsafe) let connection: InvokeConnection
    private let link: UInt64

    public let startCost: StartCost

    private init(client: RouterClient, connection: InvokeConnection, link: UInt64, startCost: StartCost) {
        (self.client, self.connection, self.link, self.startCost) = (client, connection, link, startCost)
    }

    public var isOpen: Bool { !client.isLost }
    public func start(
        _ spec: GenerateSpec, cost: @escaping @Sendable (SequenceCost) -> Void
    ) -> AsyncStream<RouterUpdate> { client.start(spec, cost: cost) }
    public func distrust() { connection.release([link], faulty: true) }

    /// How long to wait for a node that is being started again.
    private static let patience = Duration.seconds(15)
    private static let pause = Duration.milliseconds(100)

    /// Acquires a router.
    /// - Parameters:
    ///   - name: the function's full name.
    ///   - path: `DIR/run/invoke.sock`.
    ///   - request: the HTTP request that wants it.
    /// - Throws: `RouterUnavailable`.
    public static func acquire(
        _ name: String, path: String, for request: RequestID? = nil
    ) async throws(RouterUnavailable) -> InvokedRouter {
        let deadline = ContinuousClock.now + patience
        while true {
            let result = await OwnThread.run { attempt(name, path, request) }
            switch result {
            case .success(let router): return router
            case .failure(let error):
                let passes = error.code == "broken" || error.code == "unavailable"
                guard passes, ContinuousClock.now < deadline, !Task.isCancelled else { throw error }
                try? await Task.sleep(for: pause)
            }
        }
    }

    private static func attempt(
        _ name: String, _ path: String, _ request: RequestID?
    ) -> Result<InvokedRouter, RouterUnavailable> {
        do {
            let begun = ContinuousClock.now
            let connection = try InvokeConnection(path: path)
            connection.behalf = request.map { [$0] } ?? []
            guard let link = try connection.acquire(named: [name]).first else {
                return .failure(RouterUnavailable(code: "broken", message: "node granted no link to \(name)"))
            }
            let wall = UInt64(max(0, (ContinuousClock.now - begun) / .nanoseconds(1)))
            let cost = StartCost(wall: wall, CollectionOfOne(link.grant))
            return .success(
                InvokedRouter(
                    client: try RouterClient(link), connection: connection, link: link.grant.link, startCost: cost))
        } catch let error as InvokeError {
            return .failure(RouterUnavailable(code: error.code, message: error.message))
        } catch {
            return .failure(RouterUnavailable(code: "unavailable", message: "node cannot be reached: \(error)"))
        }
    }
}

/// Blocking work off Swift's pool, which has a thread per core and must not block.
enum OwnThread {
    /// Runs `body` on a new thread that ends with it.
    static func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
        await withCheckedContinuation { continuation in
            do throws(SyscallError) {
                try DetachedThread.start(stack: 512 << 10) { continuation.resume(returning: body()) }
            } catch {
                // No thread to be had: better to block here for once than to fail.
                continuation.resume(returning: body())
            }
        }
    }
}
