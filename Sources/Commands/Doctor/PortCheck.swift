// The port of the HTTP API: free, ours already, or whose. Free is what can be bound; who holds it otherwise is in
// /proc, as far as this user may look.
import Glibc
import Syscall

struct PortCheck {
    let host: String
    let port: Int
    /// The data folder, to know our own daemon.
    let data: String

    /// `HOST:PORT` as `locum up --listen` takes it.
    init(listen: String, data: String) {
        let colon = listen.lastIndex(of: ":")
        var host = colon.map { String(listen[..<$0]) } ?? listen
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        port = colon.flatMap { Int(listen[listen.index(after: $0)...]) } ?? 0
        (self.host, self.data) = (host, data)
    }

    func check() -> Check {
        let place = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        guard port != 0 else { return .ok("port", "\(place): any free one") }
        switch bindingError() {
        case nil: return .ok("port", "\(place) is free")
        case EADDRINUSE:
            let holder = holder()
            if let holder, holder.isOurs(data) { return .ok("port", "\(place) is held by our own \(holder.text)") }
            return .problem(
                "port", "\(place) is held by \(holder?.text ?? "a process that this user cannot see")",
                "end that one, or choose another address: locum up --listen \(host):0 picks a free one")
        case let error?:
            return .problem(
                "port", "\(place): \(Trial.reason(error))", "choose an address of this host by --listen HOST:PORT")
        }
    }

    /// Nil when the address can be had.
    private func bindingError() -> Int32? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let address = found else { return EADDRNOTAVAIL }
        defer { freeaddrinfo(found) }
        let raw = socket(
            address.pointee.ai_family, address.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue),
            address.pointee.ai_protocol)
        guard raw >= 0 else { return errno }
        let socket = Descriptor(owning: raw)
        // As the daemon does: connections that are still closing do not count.
        var on: Int32 = 1
        setsockopt(socket.raw, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        guard bind(socket.raw, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 else { return errno }
        return Glibc.listen(socket.raw, 1) == 0 ? nil : errno
    }

    private struct Holder {
        let pid: String
        let name: String
        let arguments: [String]
        let uid: String

        var text: String { pid.isEmpty ? "a process of user \(uid)" : "\(name) (process \(pid))" }

        /// A control of this data folder; a service's has a folder of its own in it.
        func isOurs(_ data: String) -> Bool {
            guard name == "locum-control", let at = arguments.firstIndex(of: "--data"), at + 1 < arguments.count else {
                return false
            }
            return (DataFolder.real(arguments[at + 1]) + "/").hasPrefix(DataFolder.real(data) + "/")
        }
    }

    private func holder() -> Holder? {
        for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            for line in (HostFile.text(file) ?? "").split(separator: "\n").dropFirst() {
                // number, local address, remote one, state, queues, timer, retransmits, uid, timeout, inode
                let fields = line.split(separator: " ")
                guard fields.count > 9, fields[3] == "0A", let hex = fields[1].split(separator: ":").last,
                    Int(hex, radix: 16) == port
                else { continue }
                return process(socket: "socket:[\(fields[9])]", uid: String(fields[7]))
            }
        }
        return nil
    }

    private func process(socket: String, uid: String) -> Holder {
        for pid in HostFile.names("/proc") where pid.first?.isNumber == true {
            let folder = "/proc/\(pid)/fd"
            guard HostFile.names(folder).contains(where: { HostFile.link("\(folder)/\($0)") == socket }) else {
                continue
            }
            let words = (HostFile.text("/proc/\(pid)/cmdline") ?? "").split(separator: "\0").map(String.init)
            return Holder(
                pid: pid, name: HostFile.text("/proc/\(pid)/comm") ?? "a process", arguments: words, uid: uid)
        }
        return Holder(pid: "", name: "", arguments: [], uid: uid)
    }
}
