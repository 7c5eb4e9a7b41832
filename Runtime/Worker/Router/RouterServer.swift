// A router function's own loop, on the worker's main thread (compute thread 0): between steps it looks what
// callers and node have sent, without waiting while a sequence can go on, for as long as it takes otherwise. So
// an idle router costs no CPU, and a busy one answers a cancellation after one step.
//
//     callers ──commands──► Caller ──► SequenceRequest ──► RouterSequence ─┐ rows
//        ▲                                                                ▼
//        └─────events────── Outbox ◄── scores, tokens ◄── Sampler ◄── SequenceModel.forward
import Link
import Shard
import Syscall
import Tokenizer
import Wire

/// Serves the callers of one router function.
final class RouterServer<Model: SequenceModel> {
    typealias Sequence = RouterSequence<Model.Cache>

    let model: Model
    let prompts: PromptReader
    let config: RouterConfig
    /// The channel to node; the model's dispatcher acquires experts on it too, in the same thread.
    let connection: InvokeConnection
    let meter: any UsageMeter
    let mostSequences: Int

    let epoll: Epoll
    static var channelToken: UInt64 { 0 }
    var callers: [UInt64: Caller] = [:]
    var nextCaller: UInt64 = 1
    /// In order of arrival; none has ended.
    var sequences: [Sequence] = []
    /// Sequences that wait until their owner may have more memory, in order of arrival.
    var held: [WaitingSequence] = []
    /// Sequences that wait for room in the memory budget, by the request to node.
    var waiting: [UInt32: WaitingSequence] = [:]
    /// Of ended sequences.
    var kept = KeptPrompts<Model.Cache>()
    /// The last sequence's.
    var nextNumber: UInt64 = 0
    var sampler = Sampler()
    /// Counts steps; says who is served first.
    var steps = 0
    var pace = StepPace()
    /// Nobody has been let pass since the latest step of all began.
    var letsPass = true
    /// How long a step looks after itself only, and since when it has, in nanoseconds.
    var lookPause: UInt64 = 2_000_000
    var looked: UInt64 = 0

    /// Everything that needs system calls which a closed sandbox refuses is made here.
    /// - Parameter sequences: most at once.
    init(
        model: Model, prompts: PromptReader, config: RouterConfig, connection: InvokeConnection,
        meter: any UsageMeter, sequences: Int
    ) throws(SyscallError) {
        (self.model, self.prompts, self.config) = (model, prompts, config)
        (self.connection, self.meter, mostSequences) = (connection, meter, max(1, sequences))
        epoll = try Epoll()
        try epoll.add(connection.socket.raw, token: Self.channelToken)
        connection.onReclaim = { [unowned self] in giveBack($0) }
    }

    /// Serves until node drains it or is gone.
    /// - Returns: the worker's exit code.
    func run() -> Int32 {
        do {
            while try turn(wait: true) {}
            return 0
        } catch {
            return 1
        }
    }

    /// One round: hears callers and node, then computes one step.
    /// - Parameter wait: whether to wait for something to arrive when there is nothing to compute.
    /// - Returns: false when the router is done.
    func turn(wait: Bool) throws(SyscallError) -> Bool {
        let busy = connection.hasDeferred || sequences.contains(where: canStep)
        for event in try epoll.wait(timeoutMilliseconds: busy || !wait ? 0 : -1) {
            if event.token == Self.channelToken {
                guard hearNode() else { return false }
            } else if let caller = callers[event.token] {
                hear(caller, event.ready)
            }
        }
        model.dropRevoked()
        hearDeferred()
        if connection.draining { giveBack(.max) }
        if isDrained { return false }
        step()
        for caller in Array(callers.values) { flush(caller) }
        // Nothing more may arrive that would wake it.
        return !isDrained
    }

    /// Told to leave, and nothing is left to do. Those that wait for memory may be what this router is in the way of: their
    /// callers take them elsewhere.
    private var isDrained: Bool {
        connection.draining && sequences.isEmpty && callers.values.allSatisfy(\.outbox.isEmpty)
    }

    /// False when node is gone: so is this worker, soon.
    private func hearNode() -> Bool { (try? connection.poll()) ?? false }

    func canStep(_ sequence: Sequence) -> Bool {
        guard let caller = callers[sequence.key.caller] else { return false }
        return sequence.pending > 0 && !caller.outbox.isFull
    }

    /// A token's bytes in the output's text: special tokens have none.
    func textBytes(_ token: Int32) -> [UInt8] {
        prompts.tokenizer.isSpecial(token) ? [] : prompts.tokenizer.bytes(of: token)
    }
}
