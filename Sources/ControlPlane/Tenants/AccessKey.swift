// Keys that tenants show. A key is 32 random bytes in words that survive a header and a shell; the registry has its hash, so
// whoever reads the registry has no key.
import Crypto
import FoundationEssentials
import FunctionModel

enum AccessKey {
    static let prefix = "locum-"
    /// Of the random part, what people see of a key later.
    private static let visible = 8
    /// Longer ones are none, and are not hashed.
    static let longest = 200

    /// A new one.
    static func make(now: Int64) -> (key: String, record: KeyRecord) {
        var random = SystemRandomNumberGenerator()
        let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789")
        // 57 letters: 44 of them are more than 256 bits.
        let key = prefix + String((0..<44).map { _ in letters[Int.random(in: letters.indices, using: &random)] })
        let id = String(key.prefix(prefix.count + visible))
        return (key, KeyRecord(id: id, hash: hash(key), createdAt: now))
    }

    /// Whether a text is as long as what is seen of a key, and begins like one.
    static func isID(_ text: String) -> Bool {
        text.hasPrefix(prefix) && text.utf8.count == prefix.utf8.count + visible
    }

    /// SHA-256.
    static func hash(_ key: String) -> [UInt8] { Array(SHA256.hash(data: Data(key.utf8))) }
}
