// A certificate and its key, read from PEM files and known to belong together.
import Glibc
import NIOCore
import NIOSSL
import Syscall

/// TLS files that cannot be used: which one, why and what would do.
public struct TLSError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// What a listener needs for its handshakes.
struct TLSPair: Sendable {
    let context: NIOSSLContext
    /// Seconds since 1970.
    let expires: Int

    private static let longest = 1 << 20

    var isExpired: Bool { expires <= time(nil) }

    /// `2026-11-22 14:03:07Z`.
    var expiry: String {
        var (seconds, parts) = (time_t(expires), tm())
        gmtime_r(&seconds, &parts)
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let text = buffer.baseAddress else { return "" }
            strftime(text, buffer.count, "%Y-%m-%d %H:%M:%SZ", &parts)
            return String(cString: text)
        }
    }

    /// - Throws: `TLSError`.
    static func read(certificate: String, key: String) throws(TLSError) -> TLSPair {
        let chain: [NIOSSLCertificate]
        let text = try contents(certificate, isSecret: false)
        do { chain = try NIOSSLCertificate.fromPEMBytes(text) } catch { throw noCertificate(certificate) }
        guard let leaf = chain.first else { throw noCertificate(certificate) }
        let secret = try contents(key, isSecret: true)
        let privateKey: NIOSSLPrivateKey
        do { privateKey = try NIOSSLPrivateKey(bytes: secret, format: .pem) } catch {
            throw TLSError(
                description: "\(key) holds no key without a passphrase in PEM (-----BEGIN PRIVATE KEY-----)")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(privateKey))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        // Who does not say goodbye is not waited for.
        configuration.shutdownTimeout = .seconds(1)
        do {
            return TLSPair(
                context: try NIOSSLContext(configuration: configuration), expires: Int(leaf.notValidAfter))
        } catch {
            throw TLSError(
                description: "\(key) is not the key of the first certificate in \(certificate), or of a kind that "
                    + "cannot be used (\(error))")
        }
    }

    private static func noCertificate(_ path: String) -> TLSError {
        TLSError(description: "\(path) holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    }

    /// - Parameter isSecret: others than its owner and its group must not be able to read it, nor its group to write it.
    private static func contents(_ path: String, isSecret: Bool) throws(TLSError) -> [UInt8] {
        do throws(SyscallError) {
            // A named pipe would be waited for.
            let file = Descriptor(
                owning: try check(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), "open \(path) for TLS"))
            var information = stat()
            try check(fstat(file.raw, &information), "look at \(path)")
            guard information.st_mode & S_IFMT == S_IFREG, information.st_size <= longest else {
                throw SyscallError(stage: "read \(path), which is no file of at most \(longest) bytes", errno: EINVAL)
            }
            guard !isSecret || information.st_mode & 0o027 == 0 else {
                throw SyscallError(
                    stage: "use \(path), a key whose mode \(String(information.st_mode & 0o777, radix: 8)) lets others "
                        + "read it or its group write it (`chmod 640`)", errno: EPERM)
            }
            var bytes: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 16_384)
            while bytes.count <= longest,
                case let got = try check(Glibc.read(file.raw, &part, part.count), "read \(path)"),
                got > 0
            { bytes += part[..<got] }
            return bytes
        } catch {
            throw TLSError(description: "\(error)")
        }
    }
}
