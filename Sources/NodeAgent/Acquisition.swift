// One request for functions, from its arrival until the last of its links was handed over. Each position of
// its list goes its own way, so warm functions are linked while cold ones start:
//
//   wanted ──no live instance──► asked (control) ──granted──► wanted
//      │ live instance                                          ▲
//      ├──starting──► waiting ──it ended before it was ready────┘
//      └──ready──► linkable ──sent──► linked
import Wire

/// The state of one acquire-many.
final class Acquisition {
    enum Target: Hashable {
        case name(String)
        case function(UInt64)
    }

    private enum Item {
        case wanted
        case asked
        case waiting
        case linkable(Instance)
        case linked
    }

    enum State: Equatable {
        case open
        /// Linked, failed, or its caller went.
        case closed
    }

    /// Times that control is asked for one function before the caller is told that it does not come up.
    static let mostQuestions: UInt8 = 3

    let caller: Caller
    let request: UInt32
    /// The HTTP requests that want it, as the caller says.
    let behalf: [RequestID]
    let arrived = monotonic()
    private(set) var targets: [Target]
    private var items: [Item]
    private var questions: [UInt8]
    private(set) var state = State.open
    /// Positions in `wanted`, and in `linkable` in the order in which they became so.
    private(set) var wanted: [Int]
    private var linkable: [Int] = []
    private(set) var unlinked: Int
    /// The question to control that is unanswered: its number and the positions it asks for.
    private(set) var question: (number: UInt32, positions: [Int])?
    /// Runs out when there is no control.
    var patience: EventLoop.Timer?
    /// Why an instance that was waited for ended.
    var lastReason: String?
    /// Names of the functions linked that had to be started.
    private(set) var started: [String] = []

    init(caller: Caller, request: UInt32, targets: [Target], behalf: [RequestID] = []) {
        (self.caller, self.request, self.targets, self.behalf) = (caller, request, targets, behalf)
        items = Array(repeating: .wanted, count: targets.count)
        questions = Array(repeating: 0, count: targets.count)
        wanted = Array(0..<targets.count)
        unlinked = targets.count
    }

    var isOpen: Bool { state == .open }
    var hasLinkable: Bool { !linkable.isEmpty }

    /// Takes the wanted positions, to find an instance for each.
    func takeWanted() -> [Int] {
        defer { wanted = [] }
        return wanted
    }

    /// Back in line.
    func want(_ position: Int) {
        items[position] = .wanted
        wanted.append(position)
    }

    func wait(_ position: Int) { items[position] = .waiting }

    func link(_ position: Int, to instance: Instance) {
        items[position] = .linkable(instance)
        linkable.append(position)
    }

    /// An instance that was waited for is ready.
    func ready(_ position: Int, _ instance: Instance) {
        if case .waiting = items[position] { link(position, to: instance) }
    }

    /// An instance that was waited for ended.
    func lost(_ position: Int, reason: String) {
        guard case .waiting = items[position] else { return }
        lastReason = reason
        want(position)
    }

    /// The next position to hand over. One whose instance left meanwhile goes back in line.
    func takeLinkable() -> (position: Int, instance: Instance)? {
        while !linkable.isEmpty {
            let position = linkable.removeFirst()
            guard case .linkable(let instance) = items[position] else { continue }
            if instance.state == .ready {
                items[position] = .linked
                unlinked -= 1
                if !isWarm(position) { started.append(instance.spec.name) }
                return (position, instance)
            }
            want(position)
        }
        return nil
    }

    /// Whether control has not been asked too often for any of these.
    func mayAsk(_ positions: [Int]) -> Bool { positions.allSatisfy { questions[$0] < Self.mostQuestions } }

    /// Records that control is asked.
    func asked(_ number: UInt32, _ positions: [Int]) {
        for position in positions {
            questions[position] += 1
            items[position] = .asked
        }
        question = (number, positions)
    }

    /// Whether node knew an instance by itself.
    func isWarm(_ position: Int) -> Bool { questions[position] == 0 }

    /// Control's answer: the functions behind the positions asked for. False when it does not fit the question.
    func answered(_ functions: [UInt64]) -> Bool {
        guard let question, question.positions.count == functions.count else { return false }
        self.question = nil
        for (position, function) in zip(question.positions, functions) {
            targets[position] = .function(function)
            want(position)
        }
        return true
    }

    func close() {
        state = .closed
        (wanted, linkable, question) = ([], [], nil)
    }
}
