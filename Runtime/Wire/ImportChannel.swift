// A deployment: the options that the CLI gives, and what node and the sandboxed `locum-import` say to each
// other. The import names no path and no digest that node believes: node makes the files, hashes them and
// moves them into the store.

/// How a model is to be deployed.
public struct DeployOptions: WireMessage, Equatable {
    /// The template's file in a model's folder; given beside other files it stands for the one that they have.
    public static let chatTemplateFile = "chat_template.jinja"

    public var name: String
    /// Experts of one layer in a function; 0 means all.
    public var expertsPerFunction: UInt32
    /// Layers in a function; 0 means all.
    public var layersPerFunction: UInt32
    /// `f32`, `f16`, `bf16`, `q8_0`, `q6_k`, `q4_k`, `q4_0`, or empty: keep what the source has.
    public var quantize: String
    /// Longest sequence in tokens; 0: the model's own.
    public var context: UInt32
    /// `f32`, `f16` or `q8_0`.
    public var kvType: String
    /// Produce each shard into the digest first and write only what the store lacks.
    public var probe: Bool
    /// Only say what would be made (the manifest): nothing is read but headers, nothing is written.
    public var planOnly: Bool
    /// Both: a deployment that is read and hashed whole, and answered as if it had been done. Nothing is written.
    public var isDryRun: Bool { probe && planOnly }

    public init(
        name: String, expertsPerFunction: UInt32 = 1, layersPerFunction: UInt32 = 1, quantize: String = "",
        context: UInt32 = 0, kvType: String = "f16", probe: Bool = false,
        planOnly: Bool = false
    ) {
        (self.name, self.expertsPerFunction, self.layersPerFunction) = (name, expertsPerFunction, layersPerFunction)
        (self.quantize, self.context, self.kvType) = (quantize, context, kvType)
        (self.probe, self.planOnly) = (probe, planOnly)
    }

    public func encode(into w: inout WireWriter) {
        w.string(name); w.integer(expertsPerFunction); w.integer(layersPerFunction); w.string(quantize)
        w.integer(context); w.string(kvType); w.flag(probe); w.flag(planOnly)
    }

    public init(from r: inout WireReader) throws(WireError) {
        name = try r.string()
        expertsPerFunction = try r.integer()
        layersPerFunction = try r.integer()
        quantize = try r.string()
        context = try r.integer()
        kvType = try r.string()
        probe = try r.flag()
        planOnly = try r.flag()
    }
}

/// Node to import.
public enum ImportCommand: WireMessage, Equatable {
    /// Source files, their descriptors beside it; several messages with `more` true but in the last.
    case start(DeployOptions, files: [String], more: Bool)
    /// Answer to `has`.
    case has(Bool)
    /// Answer to `create`: a writable, empty file beside it.
    case created
    /// Answer to `finish`: the file is stored under its digest.
    case finished
    /// Answer to any of them: it cannot be done (disk full, …); the import ends with this reason.
    case refused(code: String, message: String)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .start(let options, let files, let more):
            w.byte(1); options.encode(into: &w); w.list(files) { $0.string($1) }; w.flag(more)
        case .has(let value): w.byte(2); w.flag(value)
        case .created: w.byte(3)
        case .finished: w.byte(4)
        case .refused(let code, let message): w.byte(5); w.string(code); w.string(message)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .start(try DeployOptions(from: &r), files: try r.strings(), more: try r.flag())
        case 2: self = .has(try r.flag())
        case 3: self = .created
        case 4: self = .finished
        case 5: self = .refused(code: try r.string(), message: try r.string())
        case let tag: throw r.failure("unknown import command \(tag)")
        }
    }
}

/// Import to node.
public enum ImportEvent: WireMessage, Equatable {
    case progress(stage: String, done: UInt64, total: UInt64)
    /// What it will make, before the first shard: the manifest (JSON) in parts as below.
    case plan(part: [UInt8], last: Bool)
    /// Is a shard of this SHA-256 (32 bytes) stored? If so, it becomes shard `index` of the deployment.
    case has(index: UInt32, digest: [UInt8])
    /// A file for shard `index`, please.
    case create(index: UInt32, length: UInt64)
    /// Shard `index` is written. Node hashes the file itself; the digest given must agree.
    case finish(index: UInt32, digest: [UInt8], length: UInt64)
    /// The manifest (JSON) in parts of at most 64 KiB; `last` ends the deployment with success.
    case manifest(part: [UInt8], last: Bool)
    /// The deployment failed: file, place, reason and remedy in the message.
    case failed(code: String, message: String)

    public func encode(into w: inout WireWriter) {
        switch self {
        case .progress(let stage, let done, let total):
            w.byte(1); w.string(stage); w.integer(done); w.integer(total)
        case .has(let index, let digest): w.byte(2); w.integer(index); w.blob(digest)
        case .create(let index, let length): w.byte(3); w.integer(index); w.integer(length)
        case .finish(let index, let digest, let length):
            w.byte(4); w.integer(index); w.blob(digest); w.integer(length)
        case .manifest(let part, let last): w.byte(5); w.blob(part); w.flag(last)
        case .plan(let part, let last): w.byte(7); w.blob(part); w.flag(last)
        case .failed(let code, let message): w.byte(6); w.string(code); w.string(message)
        }
    }

    public init(from r: inout WireReader) throws(WireError) {
        switch try r.byte() {
        case 1: self = .progress(stage: try r.string(), done: try r.integer(), total: try r.integer())
        case 2: self = .has(index: try r.integer(), digest: try r.blob())
        case 3: self = .create(index: try r.integer(), length: try r.integer())
        case 4: self = .finish(index: try r.integer(), digest: try r.blob(), length: try r.integer())
        case 5: self = .manifest(part: try r.blob(), last: try r.flag())
        case 6: self = .failed(code: try r.string(), message: try r.string())
        case 7: self = .plan(part: try r.blob(), last: try r.flag())
        case let tag: throw r.failure("unknown import event \(tag)")
        }
    }
}
