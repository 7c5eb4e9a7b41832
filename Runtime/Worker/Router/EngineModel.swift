// Joins the router's two halves: sequences above, the engine below. Only here does either know the other.
import Shard
import Syscall
import Template
import Tokenizer
import Wire

/// The engine as a model of sequences.
final class EngineModel: SequenceModel {
    private let engine: Engine

    init(_ engine: Engine) { self.engine = engine }

    var vocabulary: Int { engine.config.vocabulary }
    var context: Int { engine.config.context }

    func makeCache(capacity: Int) throws(RouterFailure) -> KVCache {
        do throws(EngineError) { return try engine.makeCache(capacity: capacity) } catch { throw RouterFailure(error) }
    }

    func cacheBytes(capacity: Int) -> Int { engine.cacheBytes(capacity: capacity) }

    func bytes(of cache: KVCache, computed: Int) -> Int { cache.bytes(computed: computed) }

    func copy(_ count: Int, from: KVCache, to: KVCache) { to.copy(count, from: from) }

    func forward(_ rows: [StepRow<KVCache>], tracing: Bool, between: () -> Void) throws(RouterFailure) {
        let batch = rows.map {
            BatchRow(token: $0.token, position: $0.position, cache: $0.cache, wantsLogits: $0.wantsLogits)
        }
        do throws(EngineError) {
            try engine.forward(batch, tracing: tracing, between: between)
        } catch {
            throw RouterFailure(error)
        }
    }

    func failure(row: Int) -> RouterFailure? { engine.failure(row: row).map { RouterFailure($0) } }
    func cost(row: Int) -> SequenceCost { engine.cost(row: row) }
    var waited: StartCost { engine.waited }
    func logits(row: Int) -> UnsafeBufferPointer<Float> { engine.logits(row: row) }
    func gates(row: Int) -> GateTrace { engine.gates(row: row) }
    func record(_ on: Bool) { engine.isRecording = on }
    func routes() -> [UInt16] { engine.routes() }
    func dropRevoked() { engine.dropRevoked() }
    func trim() { engine.trim() }
}

extension RouterFailure {
    init(_ error: EngineError) { self.init(error.code, error.message) }
}

extension StatusPage: UsageMeter {}

extension RouterServer where Model == EngineModel {
    /// The server of a router function's shard.
    /// - Throws: `ShardError`, `TokenizerError`, `TemplateError`, `SyscallError`.
    convenience init(_ parts: RouterParts) throws {
        guard let tables = parts.shard.blob(.tokenizer) else {
            throw ShardError(.missingTensor, "the shard has no tokenizer; deploy the model again")
        }
        let prompts = PromptReader(
            tokenizer: try Tokenizer(tables: tables), template: try parts.shard.blob(.template).map(Template.init),
            config: parts.config)
        try self.init(
            model: EngineModel(parts.engine), prompts: prompts, config: parts.config, connection: parts.connection,
            meter: parts.status, sequences: parts.sequences)
    }
}
