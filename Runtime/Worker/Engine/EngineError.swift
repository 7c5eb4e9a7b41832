// Why a forward pass could not be done. The engine's state is as before: the same rows may be given again.

/// A step that failed.
struct EngineError: Error, CustomStringConvertible {
    /// Stable: `invalid_batch`, `no_memory`, `bad_shard`, `refused`, `crashed`, or what node answered when
    /// functions were acquired (`unavailable`, `denied`, …).
    let code: String
    let message: String

    init(_ code: String, _ message: String) { (self.code, self.message) = (code, message) }

    var description: String { message }
}
