// An import from end to end: look at what the files are, read the model's numbers, plan all shards, write
// them one after another. Nothing is believed, and nothing larger than a run of rows is in memory.
public import FunctionModel
import Shard
import Wire

/// The model importer.
public enum ModelImport {
    /// Turns a model into shards.
    /// - Parameters:
    ///   - sources: a folder's files (config.json, tokenizer.json, …, model.safetensors), or a GGUF file or its parts.
    ///   - sink: takes the shards.
    ///   - planned: called with what will be made before the first shard.
    ///   - progress: bytes done, bytes in all, and the name of the function at work.
    /// - Returns: what was made, functions in the order of their shards' indices.
    /// - Throws: `ImportError`; shards that were finished before are then of no use.
    public static func run(
        sources: [ImportSource], options: ImportOptions, sink: some ShardSink,
        planned: (ImportManifest) throws(ImportError) -> Void = { _ in },
        progress: (UInt64, UInt64, String) -> Void
    ) throws(ImportError) -> ImportManifest {
        let files = try open(sources)
        if let stored = try stored(files, options) {
            try planned(stored.manifest)
            return try stored.write(options.name, sink, progress)
        }
        let plan = try ImportPlan(try load(files), options)
        try planned(plan.manifest)
        let total = UInt64(plan.bytes)
        let stream = TensorStream()
        var done: UInt64 = 0
        try withoutActuallyEscaping(progress) { progress throws(ImportError) in
            for (index, shard) in plan.shards.enumerated() {
                let start = done
                var written: UInt64 = 0
                func report(_ bytes: Int) {
                    written += UInt64(bytes)
                    // A shard that is hashed first and written then passes twice, but counts once.
                    progress(min(start + written, start + UInt64(shard.plan.length)), total, shard.function.name)
                }
                try write(shard, index, stream, options, sink, report)
                done = start + UInt64(shard.plan.length)
            }
        }
        return plan.manifest
    }

    /// What an import would make, from the headers alone.
    /// - Throws: `ImportError`, the same as `run` before it writes.
    public static func plan(sources: [ImportSource], options: ImportOptions) throws(ImportError) -> ImportManifest {
        let files = try open(sources)
        if let stored = try stored(files, options) { return stored.manifest }
        return try ImportPlan(try load(files), options).manifest
    }

    /// The model, when it was deployed before.
    private static func stored(
        _ files: [String: SourceFile], _ options: ImportOptions
    ) throws(ImportError) -> StoredModel? {
        if let backup = try BackupFile.among(files) { return try backup.stored(options.name) }
        return try StoredModel.among(files)
    }

    private static func write(
        _ shard: PlannedShard, _ index: Int, _ stream: TensorStream, _ options: ImportOptions, _ sink: some ShardSink,
        _ report: @escaping (Int) -> Void
    ) throws(ImportError) {
        if options.probe {
            let digest = try produce(shard, stream, ShardOutput(descriptor: nil, progress: report))
            if try sink.has(index: index, digest: digest) { return }
        }
        let descriptor = try sink.create(index: index, length: shard.plan.length)
        let digest = try produce(shard, stream, ShardOutput(descriptor: descriptor, progress: report))
        try sink.finish(index: index, digest: digest, length: shard.plan.length)
    }

    private static func produce(
        _ shard: PlannedShard, _ stream: TensorStream, _ output: ShardOutput
    ) throws(ImportError) -> [UInt8] {
        try output.append(shard.plan.header)
        for (entry, piece) in zip(shard.plan.entries, shard.pieces) {
            try output.pad(to: entry.offset)
            switch piece {
            case .blob(let bytes): try output.append(bytes)
            case .tensor(let slice): try stream.append(slice, as: entry, to: output)
            }
        }
        try output.pad(to: shard.plan.length)
        return try output.finish()
    }

    static func load(_ sources: [ImportSource]) throws(ImportError) -> LoadedModel { try load(open(sources)) }

    private static func open(_ sources: [ImportSource]) throws(ImportError) -> [String: SourceFile] {
        var files: [String: SourceFile] = [:]
        for source in sources {
            guard files.updateValue(try SourceFile(source), forKey: source.name) == nil else {
                throw ImportError(.notAModel, "\(source.name) was given twice")
            }
        }
        return files
    }

    /// Decides by what is there: a config.json makes a Hugging Face folder, else a GGUF file is meant.
    private static func load(_ files: [String: SourceFile]) throws(ImportError) -> LoadedModel {
        if files["config.json"] != nil { return try HFModel.load(files) }
        let models = files.values.filter { $0.name != DeployOptions.chatTemplateFile }
        let gguf = models.filter { $0.name.hasSuffix(".gguf") || models.count == 1 }
        guard !gguf.isEmpty else {
            throw ImportError(
                .notAModel,
                files.isEmpty
                    ? "the folder is empty; name a folder with config.json and model.safetensors, or a .gguf file"
                    : "neither config.json nor a .gguf file is among the \(files.count) files "
                        + "(\(files.keys.sorted().prefix(3).joined(separator: ", "))); name a model's folder")
        }
        return try GGUFModel.load(
            gguf.sorted { $0.name < $1.name }, template: try LoadedModel.ChatTemplate(among: files))
    }
}
