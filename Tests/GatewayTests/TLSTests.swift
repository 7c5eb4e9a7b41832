// TLS from files: what is refused with which words, and handshakes that do not come to an end. Clients that finish theirs are
// Python's (Tests/Integration/test_tls.py).
import Glibc
import Logging
import NIOCore
import Testing

@testable import Gateway

/// PEM files in a folder of their own, which goes with this object.
private final class Files {
    let certificate: String
    let key: String
    private let folder: String

    init(certificate: String = Files.certificate, key: String = Files.key, mode: mode_t = 0o600) throws {
        var template = Array("/tmp/locum-tls-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        (self.certificate, self.key) = (folder + "/certificate.pem", folder + "/key.pem")
        for (path, text) in [(self.certificate, certificate), (self.key, key)] {
            let descriptor = Glibc.open(path, O_WRONLY | O_CREAT, 0o600)
            let bytes = Array(text.utf8)
            try #require(write(descriptor, bytes, bytes.count) == bytes.count)
            close(descriptor)
        }
        chmod(self.key, mode)
    }

    deinit {
        unlink(certificate)
        unlink(key)
        rmdir(folder)
    }

    func open() throws(TLSError) -> TLSFiles {
        try TLSFiles(certificate: certificate, key: key, logger: Logger(label: "test"))
    }

    /// For localhost, a hundred years; made for these tests and used nowhere else.
    static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBfzCCASWgAwIBAgIUMXIxoHBVlnhbRCtrFiWgq2ETve4wCgYIKoZIzj0EAwIw
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE4NTQ1MVoYDzIxMjYxMDI5
        MTg1NDUxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
        PQMBBwNCAAQx+TslfzyWT35oqLkLJLQE7do1pyjwpwk96BDxcKPZssFZ8ZgxpAjA
        bdVczxgR+oEPuFxn9Xggt428hwUYXpHgo1MwUTAdBgNVHQ4EFgQU8IxbIjhr3RjH
        ouYx2ms73T8D/nowHwYDVR0jBBgwFoAU8IxbIjhr3RjHouYx2ms73T8D/nowDwYD
        VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiANsZ7LQqQHZfBq4k2922Sp
        R2bBz1CL/0IqQHvCcLYikwIhAIbD9YhSvcjJhulLPfCHMAAidZSJ4MkQ2GDPsDOj
        FEiy
        -----END CERTIFICATE-----
        """
    static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggQgDxfKLf18UEQr3
        SKk8/M4WZSpzNRmLOskEuimucoOhRANCAAQx+TslfzyWT35oqLkLJLQE7do1pyjw
        pwk96BDxcKPZssFZ8ZgxpAjAbdVczxgR+oEPuFxn9Xggt428hwUYXpHg
        -----END PRIVATE KEY-----
        """
    /// Of another pair.
    static let otherKey = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgXG/RdP2AMCOLzPxS
        A3t+PkUDLWEIrevo7b0X3xZAbBChRANCAARAUz0S9aWBDB7LpRRlXOo8u0b3mGGm
        8KlN9pErdu8v8RtkBvgLFHJX7G/NDIV/xNNVCExShCw9zBJqNmQsLZ3m
        -----END PRIVATE KEY-----
        """
}

@Suite struct TLSTests {
    @Test(
        "Files that cannot be used are named with the reason",
        arguments: [
            ("", Files.key, 0o600, "certificate.pem holds no certificate in PEM"),
            (Files.key, Files.key, 0o600, "certificate.pem holds no certificate in PEM"),
            (String(Files.certificate.dropLast(60)), Files.key, 0o600, "certificate.pem holds no certificate in PEM"),
            (Files.certificate, "", 0o600, "key.pem holds no key"),
            (Files.certificate, Files.certificate, 0o600, "key.pem holds no key"),
            (Files.certificate, Files.otherKey, 0o600, "key.pem is not the key of the first certificate in "),
            (Files.certificate, Files.key, 0o644, "a key whose mode 644 lets others read it"),
            (Files.certificate, Files.key, 0o660, "a key whose mode 660 lets others read it or its group write it"),
        ])
    func unusable(certificate: String, key: String, mode: Int, reason: String) throws {
        let files = try Files(certificate: certificate, key: key, mode: mode_t(mode))
        #expect { try files.open() } throws: { "\($0)".contains(reason) }
    }

    @Test("Owner and group may read the key")
    func usable() throws {
        for mode: mode_t in [0o400, 0o440, 0o600, 0o640] { _ = try Files(mode: mode).open() }
    }

    @Test("A handshake that does not come to an end is given up, also one that goes on a byte at a time")
    func handshake() async throws {
        let gateway = await RunningGateway(
            ConnectionLimits(request: .milliseconds(400), idle: .seconds(5)), tls: try Files().open())
        let (halves, drips) = try await blocking { [port = gateway.port] in
            // The head of a record of 512 bytes, in which a ClientHello begins; then perhaps a byte of it now and then.
            func ends(dripping: Bool) -> Duration? {
                let client = Client(port: port)
                let begun = ContinuousClock.now
                client.send("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}")
                for _ in 0..<200 {
                    if client.isClosed(after: 50_000) { return ContinuousClock.now - begun }
                    if dripping { client.send("\u{1}") }
                }
                return nil
            }
            return (ends(dripping: false), ends(dripping: true))
        }
        for time in [halves, drips] { #expect(try #require(time) > .milliseconds(350)) }
    }

    @Test("A client that speaks no TLS is told so, once")
    func plain() async throws {
        let gateway = await RunningGateway(tls: try Files().open())
        let answer = try await gateway.exchange("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains("begin the URL with https://"), "\(answer)")
        let told = try await blocking { [port = gateway.port] in
            let client = Client(port: port)
            client.send("G")
            client.send("ET / HTTP/1.1\r\n\r\n")
            return client.readAnswer()
        }
        #expect(told == answer)
    }

    @Test("Where the client has verified the name any Host passes, and an Origin that is the same")
    func access() {
        let rule = AccessRule(listen: "0.0.0.0", isEncrypted: true)
        func passes(_ host: String?, _ origin: String? = nil) -> Bool {
            rule.refusal(host: host, origin: origin, local: "10.0.0.5") == nil
        }
        #expect(passes("moe.example") && passes("moe.example:8420", "https://moe.example:8420") && passes("10.0.0.5"))
        #expect(!passes("moe.example", "https://evil.example") && !passes("moe.example", "null"))
        #expect(!passes(nil) && !passes("") && !passes("moe.example:x"))
    }
}
