// The administration API's answers about models: `locum list` and `locum describe`.
import Scheduler

/// A row of `locum list`.
public struct ModelSummary: Codable, Sendable, Equatable {
    public var name: String
    public var revision: Int
    public var architecture: String
    /// Weights in the model.
    public var parameters: Int
    /// Bytes of its shards.
    public var bytes: Int
    public var quantization: String
    /// Longest sequence in tokens.
    public var context: Int
    /// How many functions, the router included.
    public var functions: Int
    /// How many of them have an instance.
    public var instances: Int
    /// Seconds since 1970.
    public var deployedAt: Int64

    enum CodingKeys: String, CodingKey {
        case name, revision, architecture, parameters, bytes, quantization, context, functions, instances
        case deployedAt = "deployed_at"
    }

    public init(_ record: ModelRecord, instances: Int) {
        (name, revision, architecture) = (record.name, record.revision, record.manifest.architecture)
        (parameters, bytes) = (record.manifest.parameters, record.manifest.bytes)
        (quantization, context) = (record.manifest.quantization, record.manifest.context)
        (functions, self.instances, deployedAt) = (record.functions.count, instances, record.deployedAt)
    }
}

/// A function in `locum describe`.
public struct FunctionReport: Codable, Sendable, Equatable {
    /// Full name.
    public var name: String
    public var runtime: Runtime
    /// SHA-256 of its shard in hexadecimal.
    public var digest: String
    public var bytes: Int
    public var experts: Int
    /// `starting`, `ready`, `draining`, `none`, `faulty`: none, and the last one could not read its shard, or
    /// `crashing`: none, and the last ones ended before they answered, so that the next one has to wait.
    public var state: String

    public init(_ record: FunctionRecord, state: String) {
        (name, runtime, digest) = (record.name, record.runtime, Hexadecimal.text(record.digest))
        (bytes, experts, self.state) = (record.bytes, record.experts, state)
    }
}

/// `locum describe`.
public struct ModelDescription: Codable, Sendable, Equatable {
    public var name: String
    public var revision: Int
    public var architecture: String
    public var parameters: Int
    public var bytes: Int
    public var quantization: String
    public var sourceFormat: String
    public var context: Int
    public var kvType: String
    public var hidden: Int
    public var layers: Int
    public var experts: Int
    public var expertsPerToken: Int
    public var vocabulary: Int
    public var hasChatTemplate: Bool
    public var deployedAt: Int64
    public var node: String
    public var options: DeployRecord
    public var functions: [FunctionReport]
    /// The tenant whose it is; null: the operator's.
    public var owner: String?
    /// Tenants that may use it.
    public var users: [String]
    /// Keys and values of one position, the router's process beside its shard, and the smallest memory budget that
    /// serves the model.
    public var sequenceBytesPerToken: Int
    public var routerOverhead: Int
    public var minimumBytes: Int
    /// What guesses of its routers have come to; null before the first.
    public var prediction: PredictionReport?
    /// What the first token took when it was last asked while nothing of it ran; null before that.
    public var firstToken: FirstTokenReport?

    enum CodingKeys: String, CodingKey {
        case name, revision, architecture, parameters, bytes, quantization, context, hidden, layers, experts
        case vocabulary, node, options, functions, owner, users, prediction
        case firstToken = "first_token"
        case sequenceBytesPerToken = "sequence_bytes_per_token"
        case routerOverhead = "router_overhead_bytes"
        case minimumBytes = "minimum_bytes"
        case sourceFormat = "source_format"
        case kvType = "kv_type"
        case expertsPerToken = "experts_per_token"
        case hasChatTemplate = "has_chat_template"
        case deployedAt = "deployed_at"
    }

    public init(
        _ record: ModelRecord, functions: [FunctionReport], prediction: PredictionReport?,
        firstToken: FirstTokenReport? = nil, users: [String] = [], lanes: Int
    ) {
        (self.prediction, self.firstToken) = (prediction, firstToken)
        (owner, self.users) = (ModelName.owner(of: record.name), users)
        (sequenceBytesPerToken, routerOverhead) = (
            record.manifest.sequenceBytesPerToken, record.manifest.routerOverhead
        )
        minimumBytes = MemoryCost.minimum(record.manifest.memoryShape(lanes: lanes))
        let manifest = record.manifest
        (name, revision, architecture) = (record.name, record.revision, manifest.architecture)
        (parameters, bytes, quantization) = (manifest.parameters, manifest.bytes, manifest.quantization)
        (sourceFormat, context, kvType) = (manifest.sourceFormat, manifest.context, manifest.kvType)
        (hidden, layers, experts) = (manifest.hidden, manifest.layers, manifest.experts)
        (expertsPerToken, vocabulary) = (manifest.expertsPerToken, manifest.vocabulary)
        (hasChatTemplate, deployedAt) = (manifest.hasChatTemplate, record.deployedAt)
        (node, options, self.functions) = (record.node, record.options, functions)
    }
}

/// Where the time to the first token went when the model was last asked while nothing of it ran; milliseconds.
public struct FirstTokenReport: Codable, Sendable, Equatable {
    public var total: Double
    /// Waiting for a turn, for memory, and for others.
    public var queue: Double
    /// Until the router's and the experts' processes were there; until those were ready; until shards were read.
    public var spawn, map, read: Double
    /// The prompt's forward passes.
    public var compute: Double

    enum CodingKeys: String, CodingKey {
        case total = "total_ms"
        case queue = "queue_ms"
        case spawn = "spawn_ms"
        case map = "map_ms"
        case read = "read_ms"
        case compute = "compute_ms"
    }

    public init(total: Double, queue: Double, spawn: Double, map: Double, read: Double, compute: Double) {
        (self.total, self.queue, self.spawn) = (total, queue, spawn)
        (self.map, self.read, self.compute) = (map, read, compute)
    }
}

/// Experts read ahead because a router guessed that they would be called.
public struct PredictionReport: Codable, Sendable, Equatable {
    /// False while it does not pay; it is tried now and then.
    public var isOn: Bool
    /// Guesses that were called; called while they were being read; called by nobody.
    public var used: Int
    public var late: Int
    public var wasted: Int
    public var bytesWasted: Int
    /// Seconds of waiting saved, and of the disk's time spent for nothing.
    public var secondsSaved: Double
    public var secondsLost: Double

    enum CodingKeys: String, CodingKey {
        case used, late, wasted
        case isOn = "on"
        case bytesWasted = "bytes_wasted"
        case secondsSaved = "seconds_saved"
        case secondsLost = "seconds_lost"
    }

    public init(
        isOn: Bool, used: Int, late: Int, wasted: Int, bytesWasted: Int, secondsSaved: Double, secondsLost: Double
    ) {
        (self.isOn, self.used, self.late, self.wasted) = (isOn, used, late, wasted)
        (self.bytesWasted, self.secondsSaved, self.secondsLost) = (bytesWasted, secondsSaved, secondsLost)
    }
}

/// What a deployment did; the CLI gets it as the `deployed` event's JSON.
public struct DeployReport: Codable, Sendable, Equatable {
    public var name: String
    public var revision: Int
    /// False when everything was there already; the revision is then the old one.
    public var changed: Bool
    public var functions: Int
    /// Functions that are new or have another shard than in the revision before.
    public var functionsChanged: Int
    public var shardsWritten: Int
    public var parameters: Int
    public var bytes: Int
    public var quantization: String
    public var context: Int

    enum CodingKeys: String, CodingKey {
        case name, revision, changed, functions, parameters, bytes, quantization, context
        case functionsChanged = "functions_changed"
        case shardsWritten = "shards_written"
    }

    public init(_ record: ModelRecord, changed: Bool, functionsChanged: Int, shardsWritten: Int) {
        (name, revision, self.changed, functions) = (record.name, record.revision, changed, record.functions.count)
        (self.functionsChanged, self.shardsWritten) = (functionsChanged, shardsWritten)
        (parameters, bytes) = (record.manifest.parameters, record.manifest.bytes)
        (quantization, context) = (record.manifest.quantization, record.manifest.context)
    }
}

/// Bytes as people read digests.
public enum Hexadecimal {
    public static func text(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    /// nil when it is no hexadecimal.
    public static func bytes(_ text: String) -> [UInt8]? {
        let digits = text.utf8.map { digit in
            UInt8(ascii: "0")...UInt8(ascii: "9") ~= digit
                ? digit - UInt8(ascii: "0")
                : UInt8(ascii: "a")...UInt8(ascii: "f") ~= digit ? digit - UInt8(ascii: "a") + 10 : 255
        }
        guard digits.count % 2 == 0, !digits.contains(255) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}
