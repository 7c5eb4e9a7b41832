// The operator's own keys: what may administer, or measure, over HTTP. Looked up by their hashes as tenants' keys are.
import ControlStore
import FunctionModel
import Synchronization

final class OperatorKeys: Sendable {
    private let state: Mutex<[[UInt8]: OperatorKey]>
    private let changes = Mutex(())
    private let store: any RegistryStore
    /// Seconds since 1970.
    private let date: @Sendable () -> Int64

    /// - Throws: `StoreError` when the registry cannot be read.
    init(store: any RegistryStore, date: @escaping @Sendable () -> Int64) throws(StoreError) {
        (self.store, self.date) = (store, date)
        let keys = try store.operatorKeys().map { ($0.key.hash, $0) }
        state = Mutex(Dictionary(keys) { $1 })
    }

    var isEmpty: Bool { state.withLock { $0.isEmpty } }
    var all: [OperatorKey] { state.withLock { $0.values.sorted { $0.key.id < $1.key.id } } }

    /// What the key of this hash opens, noting that it was used; nil when there is none.
    func role(of hash: [UInt8]) -> OperatorRole? {
        state.withLock { keys in
            guard let role = keys[hash]?.role else { return nil }
            keys[hash]?.key.lastUsed = date()
            return role
        }
    }

    /// Makes a key.
    /// - Throws: `ControlFailure` with a store's code.
    func create(_ role: OperatorRole) throws(ControlFailure) -> NewKey {
        let (key, record) = AccessKey.make(now: date())
        try change { $0[record.hash] = OperatorKey(role: role, key: record) }
        return NewKey(id: record.id, key: key)
    }

    /// Revokes a key by what is seen of it, or by its hash; nil when there is none.
    /// - Throws: `ControlFailure` with a store's code.
    func revoke(_ id: String, hash: [UInt8]) throws(ControlFailure) -> KeyReport? {
        guard let key = all.first(where: { $0.key.id == id || $0.key.hash == hash }) else { return nil }
        try change { $0[key.key.hash] = nil }
        return KeyReport(key)
    }

    /// Makes a key what it was in a backup.
    /// - Throws: `ControlFailure` with a store's code.
    func restore(_ key: OperatorKey) throws(ControlFailure) {
        try change { keys in
            keys = keys.filter { $0.value.key.id != key.key.id }
            keys[key.key.hash] = key
        }
    }

    /// Writes down when keys were used.
    /// - Throws: `ControlFailure` with a store's code.
    func flush() throws(ControlFailure) {
        if !isEmpty { try change { _ in } }
    }

    /// Changes keys in the registry first, then here.
    private func change(_ edit: (inout [[UInt8]: OperatorKey]) -> Void) throws(ControlFailure) {
        // Two changes follow each other; requests do not wait for the disk.
        try changes.withLock { _ throws(ControlFailure) in
            let old = state.withLock { $0 }
            var keys = old
            edit(&keys)
            do throws(StoreError) {
                try store.write(keys.values.sorted { $0.key.id < $1.key.id })
            } catch {
                throw ControlFailure(code: error.code, message: error.message)
            }
            state.withLock { state in
                // Those that were used meanwhile.
                for (hash, key) in state where keys[hash] != nil { keys[hash]?.key.lastUsed = key.key.lastUsed }
                state = keys
            }
        }
    }
}
