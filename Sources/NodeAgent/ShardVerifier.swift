// `locum verify`: hashes stored shards again, one after another, in slices between other events. A damaged
// shard is set aside, so that the next deployment writes it anew and no worker starts from it meanwhile.
import ShardStore
import Syscall
import Wire

/// The line of shards to verify.
final class ShardVerifier {
    typealias Answer = (_ condition: ShardCondition, _ message: String) -> Void

    private let loop: EventLoop
    private let store: ShardStore
    private var line: [(digest: ShardDigest, answer: Answer)] = []
    private var isRunning = false
    /// Whether a shard is in use, so that its pages are wanted.
    var isUsed: (ShardDigest) -> Bool = { _ in false }

    init(_ loop: EventLoop, _ store: ShardStore) { (self.loop, self.store) = (loop, store) }

    func verify(_ digest: ShardDigest, _ answer: @escaping Answer) {
        line.append((digest, answer))
        next()
    }

    private func next() {
        guard !isRunning, !line.isEmpty else { return }
        let (digest, answer) = line.removeFirst()
        do throws(ShardStoreError) {
            let (file, length) = try store.open(digest)
            let hashing = ShardHashing(file, length: length)
            isRunning = true
            loop.job { [weak self] in
                do throws(ShardStoreError) {
                    guard let found = try hashing.step() else { return true }
                    self?.finished(digest, found == digest ? nil : "its bytes have the digest \(found)", answer)
                } catch {
                    self?.finished(digest, error.message, answer)
                }
                return false
            }
        } catch {
            answer(.damaged, error.message)
            next()
        }
    }

    private func finished(_ digest: ShardDigest, _ damage: String?, _ answer: Answer) {
        isRunning = false
        if !isUsed(digest) { store.releasePages(of: digest) }
        if let damage {
            let aside = (try? store.quarantine(digest)) != nil
            let state = aside ? "it was set aside" : "it could not be set aside"
            answer(.damaged, "shard \(digest) is damaged: \(damage); \(state), deploy its model again")
        } else if store.isOlder(digest) {
            answer(.older, "it has an earlier layout, which `locum verify --repair` rewrites")
        } else {
            answer(.intact, "")
        }
        next()
    }
}
