// What can go wrong in the store, in words for the person who deploys.
import Glibc
import Syscall

/// A failure of the shard store: a stable code, and what failed, where, why and what to do.
public struct ShardStoreError: Error, Sendable, CustomStringConvertible {
    /// `shard_missing`, `digest_mismatch`, `disk_full`, `too_large`, `still_open` or `store_failed`.
    public let code: String
    public let message: String

    public init(code: String, message: String) { (self.code, self.message) = (code, message) }

    public var description: String { message }

    /// A failed system call of the store; a full disk gets a code of its own.
    init(_ error: SyscallError) {
        switch error.errno {
        case ENOSPC, EDQUOT:
            self.init(
                code: "disk_full",
                message: "\(error); free some space there, or use another data folder (--data), and deploy again")
        case EFBIG:
            self.init(code: "too_large", message: "\(error); the file system does not take a file of this size")
        default: self.init(code: "store_failed", message: "\(error)")
        }
    }
}

/// Runs a call that answers -1 on failure, for the store.
@discardableResult
func stored<T: SignedInteger>(_ result: T, _ stage: @autoclosure () -> String) throws(ShardStoreError) -> T {
    do throws(SyscallError) {
        return try check(result, stage())
    } catch {
        throw ShardStoreError(error)
    }
}
