// What `locum doctor` says of one thing. A check never throws: what cannot be read is what was found.

/// One line of `locum doctor`.
struct Check: Encodable {
    enum State: String, Encodable {
        case ok
        /// Locum runs; something is weaker, slower or smaller than it could be.
        case note
        /// Locum does not run here.
        case problem
    }

    /// Stable, for scripts.
    let name: String
    let state: State
    /// What there is.
    let found: String
    /// What follows from it and what to do; empty where nothing is to be done.
    let advice: String

    static func ok(_ name: String, _ found: String) -> Check {
        Check(name: name, state: .ok, found: found, advice: "")
    }

    static func note(_ name: String, _ found: String, _ advice: String) -> Check {
        Check(name: name, state: .note, found: found, advice: advice)
    }

    static func problem(_ name: String, _ found: String, _ advice: String) -> Check {
        Check(name: name, state: .problem, found: found, advice: advice)
    }
}
