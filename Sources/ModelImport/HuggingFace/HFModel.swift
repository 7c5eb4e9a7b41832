// A Hugging Face folder, file by file.
import Shard
import Tokenizer

enum HFModel {
    /// - Parameter files: by name; other files of the folder may be among them and are not looked at.
    static func load(_ files: [String: SourceFile]) throws(ImportError) -> LoadedModel {
        let configFile = try require("config.json", files)
        let source = try HFConfig(configFile)
        guard let architecture = Architecture.all.first(where: { $0.huggingFaceType == source.modelType }) else {
            let type = source.modelType.isEmpty ? "not named (no model_type)" : source.modelType
            throw Architecture.unsupported(configFile.name, type)
        }
        var config = try source.routerConfig(architecture)
        let tokenizerFile = try require("tokenizer.json", files)
        let tokenizerConfig: HFTokenizerConfig
        if let file = files["tokenizer_config.json"] {
            tokenizerConfig = try HFTokenizerConfig(file)
        } else {
            tokenizerConfig = HFTokenizerConfig()
        }
        let generation: HFGenerationConfig
        if let file = files["generation_config.json"] {
            generation = try HFGenerationConfig(file)
        } else {
            generation = HFGenerationConfig()
        }
        let tokenizer = try HFTokenizer(tokenizerFile)
        let definition = try tokenizer.definition(tokenizerConfig)
        config.generation = generation.defaults
        config.bosText = tokenizerConfig.bosText ?? ""
        config.eosText = tokenizerConfig.eosText ?? ""
        config.bosToken = definition.bosToken.flatMap { Int32(exactly: $0) }
        var eos = generation.eosTokens ?? source.eosTokens
        if eos.isEmpty, let text = tokenizerConfig.eosText { eos = [try tokenizer.id(of: text)] }
        config.eosTokens = try eos.map { id throws(ImportError) in
            guard let token = Int32(exactly: id) else {
                throw ImportError(.badConfig, "\(configFile.name): \(id) is no token id; download the file again")
            }
            return token
        }
        return LoadedModel(
            naming: .safetensors, architecture: architecture, configFile: configFile.name, config: config,
            hasAttentionBias: source.hasAttentionBias ?? architecture.hasAttentionBias,
            tiesOutput: source.tiesEmbeddings,
            tokenizerFile: tokenizerFile.name, tokenizer: definition,
            template: try template(files, tokenizerConfig), tensors: try tensors(files))
    }

    private static func require(_ name: String, _ files: [String: SourceFile]) throws(ImportError) -> SourceFile {
        guard let file = files[name] else {
            throw ImportError(
                .missingFile, "\(name) is not in the folder; download all files of the model, or name a .gguf file")
        }
        return file
    }

    private static func template(
        _ files: [String: SourceFile], _ config: HFTokenizerConfig
    ) throws(ImportError) -> LoadedModel.ChatTemplate? {
        if let own = try LoadedModel.ChatTemplate(among: files) { return own }
        return config.chatTemplate.map {
            LoadedModel.ChatTemplate(place: "tokenizer_config.json, chat_template", source: $0)
        }
    }

    private static func tensors(_ files: [String: SourceFile]) throws(ImportError) -> TensorTable {
        var table = TensorTable()
        if let index = files["model.safetensors.index.json"] {
            table = try SafetensorsIndex.read(index, parts: files)
        } else {
            try SafetensorsFile.read(try require("model.safetensors", files), into: &table)
        }
        try table.refuseOverlaps(.badSafetensors)
        return table
    }
}
