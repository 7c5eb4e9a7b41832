// Routers by name: one link each, acquired when first needed, shared by all sequences, acquired again when it
// was lost. Acquiring starts the router when it is not running.
public import Wire

/// What a sequence needs of a router. The real one is `InvokedRouter`; tests have their own.
public protocol RouterAccess: AnyObject, Sendable {
    /// False when the router is gone.
    var isOpen: Bool { get }
    /// What it took to get it.
    var startCost: StartCost { get }
    /// Starts a sequence. The stream ends after `finished`, `failed` or `lost`; dropping it cancels the sequence.
    /// - Parameter cost: called with what the sequence has cost so far, also after its stream was dropped.
    func start(_ spec: GenerateSpec, cost: @escaping @Sendable (SequenceCost) -> Void) -> AsyncStream<RouterUpdate>
    /// It said what no router says: has it ended.
    func distrust()
}

extension RouterAccess {
    public var startCost: StartCost { StartCost() }
    public func distrust() {}
}

/// Why there is no router.
public struct RouterUnavailable: Error, Sendable {
    /// `not_found`, `unavailable`, `crashed`, `broken`, …
    public let code: String
    public let message: String
    public init(code: String, message: String) { (self.code, self.message) = (code, message) }
}

actor RouterDirectory {
    typealias Connect = @Sendable (_ name: String) async throws(RouterUnavailable) -> any RouterAccess

    private enum Entry {
        case opening(Task<any RouterAccess, any Error>)
        case open(any RouterAccess)
    }
    private var entries: [String: Entry] = [:]
    private let connect: Connect

    init(connect: @escaping Connect) { self.connect = connect }

    /// A router.
    struct Found {
        let router: any RouterAccess
        /// It was linked already.
        let warm: Bool
        /// It was linked for whoever asked, and nobody else.
        let isFirst: Bool
    }

    /// - Throws: `RouterUnavailable`.
    func router(_ name: String) async throws(RouterUnavailable) -> Found {
        if case .open(let router) = entries[name], router.isOpen {
            return Found(router: router, warm: true, isFirst: false)
        }
        let task: Task<any RouterAccess, any Error>
        var isFirst = false
        if case .opening(let running) = entries[name] {
            task = running
        } else {
            // Not the caller's child: others may wait for it when the caller gives up.
            task = Task { [connect] in try await connect(name) }
            isFirst = true
            entries[name] = .opening(task)
        }
        do {
            let router = try await task.value
            if case .opening(let current) = entries[name], current == task { entries[name] = .open(router) }
            return Found(router: router, warm: false, isFirst: isFirst)
        } catch {
            if case .opening(let current) = entries[name], current == task { entries[name] = nil }
            throw error as? RouterUnavailable ?? RouterUnavailable(code: "broken", message: "\(error)")
        }
    }

    /// The router takes no more sequences (lost, or it drains): the next one asks for another.
    func discard(_ name: String, _ router: any RouterAccess) {
        if case .open(let current) = entries[name], current === router { entries[name] = nil }
    }

    /// Lets go of links whose router is gone, so that an idle host keeps none.
    func discardLost() {
        entries = entries.filter { entry in
            if case .open(let router) = entry.value { router.isOpen } else { true }
        }
    }
}
