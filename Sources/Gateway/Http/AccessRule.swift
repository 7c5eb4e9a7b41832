// Who may talk to the inference listener. It has no passwords, so it must not be driven by a web page: a page's
// requests carry its Origin, and a name that an attacker points at 127.0.0.1 (DNS rebinding) stands in Host.
// Both must be this listener's own; curl and programs send no Origin. Where TLS is spoken the client has held the name
// against the certificate already, so any Host will do, and an Origin that is the same.

/// The names under which a listener may be addressed.
struct AccessRule: Sendable {
    private let names: Set<String>
    private let isEncrypted: Bool

    /// - Parameter listen: host part of the listen address, as it was given.
    init(listen: String, isEncrypted: Bool = false) {
        self.isEncrypted = isEncrypted
        let listen = Self.withoutBrackets(listen.lowercased())
        names = ["localhost", "127.0.0.1", "::1", listen]
    }

    /// - Parameters:
    ///   - host: the Host field.
    ///   - origin: the Origin field, nil when absent.
    ///   - local: the address at which this connection arrived; whoever names it by number was not lured by a name.
    /// - Returns: nil when it may pass, else why not.
    func refusal(host: String?, origin: String?, local: String?) -> String? {
        guard let host, !host.isEmpty else { return "the request names no Host" }
        guard let called = Self.hostName(host), isEncrypted || allows(called, local) else {
            return "Host '\(host.prefix(100))' is not a name of this server; use localhost or the address it listens on"
        }
        guard let origin else { return nil }
        let schemes = ["http://", "https://"]
        guard let scheme = schemes.first(where: { origin.lowercased().hasPrefix($0) }),
            let name = Self.hostName(String(origin.dropFirst(scheme.count))), allows(name, local) || name == called
        else { return "Origin '\(origin.prefix(100))' may not use this server" }
        return nil
    }

    private func allows(_ name: String, _ local: String?) -> Bool {
        names.contains(name) || name == local?.lowercased()
    }

    /// `host`, `host:port`, `[v6]`, `[v6]:port`; nil when it is none of them.
    private static func hostName(_ authority: String) -> String? {
        let text = authority.lowercased()
        let name: Substring
        let rest: Substring
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            name = text[text.index(after: text.startIndex)..<end]
            rest = text[text.index(after: end)...]
        } else {
            let end = text.firstIndex(of: ":") ?? text.endIndex
            (name, rest) = (text[..<end], text[end...])
        }
        guard rest.isEmpty || (rest.hasPrefix(":") && UInt16(rest.dropFirst()) != nil) else { return nil }
        return String(name)
    }

    private static func withoutBrackets(_ host: String) -> String {
        host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    }
}
