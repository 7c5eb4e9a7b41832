// A router server on a table model, with a node and callers at the other ends of its sockets, all in one thread:
// the test turns the server by hand.
import Kernels
import Glibc
import Link
import Shard
import Syscall
import Template
import Testing
import Tokenizer
import Wire

@testable import Worker

/// Bytes as tokens 0…255, then `<|im_start|>` 256 and `<|im_end|>` 257.
enum ByteVocabulary {
    static let start: Int32 = 256
    static let end: Int32 = 257
    static let count = 258

    static func tables() throws -> [UInt8] {
        try TokenizerDefinition(
            tokens: ByteAlphabet.characters, merges: [],
            added: [
                AddedToken(id: 256, content: "<|im_start|>", special: true),
                AddedToken(id: 257, content: "<|im_end|>", special: true),
            ],
            preTokenizer: .qwen2, normalizesNFC: false
        ).encodeTables()
    }

    static let chatML = """
        {% for message in messages %}{% if message['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}\
        {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    static func config(context: Int, generation: GenerationDefaults = GenerationDefaults()) -> RouterConfig {
        RouterConfig(
            architecture: "table", vocabulary: count, hidden: 1, layers: 1, heads: 1, kvHeads: 1, headDim: 2,
            rotation: Rotation(frequencies: [1]), rmsEpsilon: 1, queryKeyNorm: .none, expertCount: 1,
            expertsPerToken: 1, normalizesTopK: false, sharedExpertIntermediate: 0,
            moeIntermediate: 1, denseIntermediate: 0, isMoE: [true], context: context, kvType: .f32, eosTokens: [end],
            bosToken: nil, bosText: "", eosText: "<|im_end|>", generation: generation,
            functions: FunctionMap(count: 1, places: [.init(function: 0, local: 0)]))
    }

    /// A reader whose tables live for ever.
    static func reader(context: Int, generation: GenerationDefaults = GenerationDefaults()) throws -> PromptReader {
        let tables = UnsafeMutableRawBufferPointer.allocate(byteCount: try tables().count, alignment: 64)
        tables.copyBytes(from: try self.tables())
        return PromptReader(
            tokenizer: try Tokenizer(tables: UnsafeRawBufferPointer(tables)),
            template: try Template(try Template.compile(source: chatML)),
            config: config(context: context, generation: generation))
    }
}

final class RouterBench {
    let model: TableModel
    let server: RouterServer<TableModel>
    let meter = CountingMeter()
    let node: Descriptor
    private(set) var over = false

    init(context: Int = 512, sequences: Int = 8, generation: GenerationDefaults = GenerationDefaults()) throws {
        let (node, worker) = try Seqpacket.pair()
        self.node = node
        model = TableModel(vocabulary: ByteVocabulary.count, context: context)
        server = try RouterServer(
            model: model, prompts: try ByteVocabulary.reader(context: context, generation: generation),
            config: ByteVocabulary.config(context: context, generation: generation),
            connection: InvokeConnection(socket: worker), meter: meter, sequences: sequences)
    }

    /// Links a new caller, as node does.
    func caller() throws -> BenchCaller {
        let (mine, lane) = try Seqpacket.pair()
        let arena = try SharedMemory(name: "arena", count: 4096)
        let offer = LinkOffer(link: 1, lanes: 1, requestArena: 4096, replyArena: 4096)
        try Seqpacket.send(
            node.raw, InvokeEvent.accept([offer]).frame,
            descriptors: [lane.raw, arena.readable.raw, arena.writable.raw])
        turn()
        let answer = try #require(try Seqpacket.receive(node.raw, wait: false))
        #expect(try InvokeRequest(frame: answer.bytes) == .accepted)
        return BenchCaller(socket: mine) { [unowned self] in turn() }
    }

    func turn(_ count: Int = 1) {
        for _ in 0..<count where !over {
            do {
                over = try !server.turn(wait: false)
            } catch {
                Issue.record(error)
                over = true
            }
        }
    }

    /// Runs one sequence to its end, on a caller of its own.
    func run(_ spec: GenerateSpec) throws -> BenchResult {
        let caller = try caller()
        try caller.start(1, spec)
        for _ in 0..<10_000 {
            turn()
            try caller.receive()
            if let result = caller.result(1) { return result }
        }
        throw RouterFailure("stuck", "no end after 10,000 turns")
    }
}

/// What a sequence came to.
struct BenchResult: Equatable {
    var ids: [Int32] = []
    var text = ""
    var scores: [TokenScore?] = []
    var reason: FinishReason?
    var failure: RouterFailure?
}

final class BenchCaller {
    let socket: Descriptor
    private(set) var events: [UInt64: [RouterEvent]] = [:]
    private(set) var isCutOff = false
    private var assembler = RouterAssembler()

    private let turn: () -> Void

    /// - Parameter turn: lets the server read.
    init(socket: Descriptor, turn: @escaping () -> Void) { (self.socket, self.turn) = (socket, turn) }

    func start(_ sequence: UInt64, _ spec: GenerateSpec) throws { try send(sequence, .generate(spec)) }
    func cancel(_ sequence: UInt64) throws { try send(sequence, .cancel) }

    private func send(_ sequence: UInt64, _ command: RouterCommand) throws {
        for frame in RouterFrame.cut(command, sequence: sequence) {
            // Server and caller share this thread: when the socket is full, the server has to read first.
            while true {
                do throws(SyscallError) {
                    try Seqpacket.send(socket.raw, frame.frame, wait: false)
                    break
                } catch {
                    guard error.errno == EAGAIN else { throw error }
                    turn()
                }
            }
        }
    }

    func receive() throws {
        while !isCutOff {
            do {
                guard let packet = try Seqpacket.receive(socket.raw, wait: false) else {
                    isCutOff = true
                    return
                }
                let frame = try RouterFrame(frame: packet.bytes)
                guard let whole = try assembler.add(frame) else { continue }
                events[frame.sequence, default: []].append(try RouterEvent(frame: whole))
            } catch let error as SyscallError where error.errno == EAGAIN {
                return
            } catch let error as SyscallError where error.errno == ECONNRESET {
                isCutOff = true
            }
        }
    }

    /// Nil while the sequence goes on.
    func result(_ sequence: UInt64) -> BenchResult? {
        var result = BenchResult()
        for event in events[sequence] ?? [] {
            switch event {
            case .token(_, let id, let text, let score):
                result.ids.append(id)
                result.text += text
                result.scores.append(score)
            case .finished(let reason, let text, _):
                result.text += text
                result.reason = reason
                return result
            case .failed(let code, let parameter, let message):
                result.failure = RouterFailure(code, parameter: parameter, message)
                return result
            default: break
            }
        }
        return nil
    }
}
