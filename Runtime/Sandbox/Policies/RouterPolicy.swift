// A router: a worker that also calls others. It gets its links from node like its callers get theirs; it makes
// none. Its pauses are futex waits with a limit, its sleep is an epoll wait, so it needs no other call for time.
extension SeccompPolicy {
    /// Calls of a router function's worker.
    public static let router = SeccompPolicy(
        name: "router",
        allowing: serving + [
            allow(
                "setsockopt", .equal(1, 1), .equal(2, 20),
                because: "SOL_SOCKET, SO_RCVTIMEO: a hung expert must not hang the router")
        ])
}
