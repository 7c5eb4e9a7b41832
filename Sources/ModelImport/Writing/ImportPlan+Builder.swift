// Puts shards together, one after another, and counts what goes into them.
import FunctionModel
import Kernels
import Shard
import Template
import Tokenizer

extension ImportPlan {
    struct Builder {
        let quantize: WeightFormat?
        var shards: [PlannedShard] = []
        var weights: [WeightFormat: Int] = [:]
        var parameters = 0

        init(quantize: WeightFormat?) { self.quantize = quantize }

        mutating func router(
            _ model: LoadedModel, _ config: RouterConfig, _ locator: inout TensorLocator
        ) throws(ImportError) {
            var parts: [Part] = [
                Part(blob: .config, config.encoded), Part(blob: .tokenizer, try Self.tables(model)),
            ]
            if let template = model.template { parts.append(Part(blob: .template, try Self.compile(template))) }
            for required in model.routerTensors {
                parts.append(try part(required, layer: required.layer, expert: 0, &locator))
                if required.role == .output, model.tiesOutput { parameters -= required.rows * required.cols }
            }
            try add(name: "router", kind: .router, experts: 0, parts, model)
        }

        mutating func expert(
            _ model: LoadedModel, _ group: ExpertGroup, _ locator: inout TensorLocator
        ) throws(ImportError) {
            var parts: [Part] = []
            for (local, member) in group.members.enumerated() {
                for required in model.expertTensors(layer: member.layer, expert: member.expert) {
                    parts.append(try part(required, layer: 0, expert: local, &locator))
                }
            }
            let kind = ShardKind.expert(
                hidden: model.config.hidden, intermediate: model.config.moeIntermediate, count: group.count)
            try add(name: group.name, kind: kind, experts: group.count, parts, model)
        }

        private struct Part {
            let content: ShardContent
            let piece: PlannedShard.Piece

            init(_ content: ShardContent, _ piece: PlannedShard.Piece) { (self.content, self.piece) = (content, piece) }

            init(blob role: ShardRole, _ bytes: [UInt8]) {
                self.init(ShardContent(blob: role, length: bytes.count), .blob(bytes))
            }
        }

        private mutating func part(
            _ required: RequiredTensor, layer: Int, expert: Int, _ locator: inout TensorLocator
        ) throws(ImportError) -> Part {
            let slice = try locator.find(required)
            let format = target(required.role, slice.format, columns: slice.cols)
            guard slice.cols % format.blockSize == 0 else {
                throw ImportError(
                    .badOptions,
                    "\(slice.file.name): tensor \(slice.name) has rows of \(slice.cols), which do not "
                        + "divide into the blocks of \(format.name) (\(format.blockSize)); choose f32, f16 or bf16")
            }
            parameters += slice.rows * slice.cols
            if required.role.content != .vector, required.role != .gate {
                weights[format, default: 0] += slice.rows * slice.cols
            }
            let content = ShardContent(
                required.role, layer: layer, expert: expert, format: format, rows: slice.rows, cols: slice.cols)
            return Part(content, .tensor(slice))
        }

        /// Norms, biases and gates are f32 always: they are small, and a gate's rounding changes which experts
        /// are chosen.
        private func target(_ role: ShardRole, _ source: WeightFormat, columns: Int) -> WeightFormat {
            if role.content == .vector || role == .gate { return .f32 }
            guard let quantize else { return source }
            let wanted = role == .output ? quantize.ofOutput : quantize
            return columns % wanted.blockSize == 0 ? wanted : wanted.inBlocksOf32 ?? wanted
        }

        private mutating func add(
            name: String, kind: ShardKind, experts: Int, _ parts: [Part], _ model: LoadedModel
        ) throws(ImportError) {
            let plan: ShardPlan
            do throws(ShardError) {
                plan = try ShardPlan(kind: kind, contents: parts.map(\.content))
            } catch {
                throw ImportError(.badShape, "\(model.configFile): function \(name): \(error.message)")
            }
            var pieces: [PieceKey: PlannedShard.Piece] = [:]
            for part in parts { pieces[PieceKey(part.content)] = part.piece }
            shards.append(
                PlannedShard(
                    function: ImportManifest.Function(
                        name: name, runtime: kind == .router ? "router" : "expert", shard: shards.count,
                        bytes: plan.length, experts: experts),
                    plan: plan, pieces: plan.entries.compactMap { pieces[PieceKey($0)] }))
        }

        private struct PieceKey: Hashable {
            let role: ShardRole
            let layer: Int
            let expert: Int

            init(_ content: ShardContent) { (role, layer, expert) = (content.role, content.layer, content.expert) }
            init(_ entry: ShardEntry) { (role, layer, expert) = (entry.role, entry.layer, entry.expert) }
        }

        private static func tables(_ model: LoadedModel) throws(ImportError) -> [UInt8] {
            let highest = max(model.tokenizer.tokens.count - 1, model.tokenizer.added.map(\.id).max() ?? 0)
            guard highest < model.config.vocabulary else {
                throw ImportError(
                    .badTokenizer,
                    "\(model.tokenizerFile): it has a token with id \(highest), but the model's "
                        + "vocabulary has \(model.config.vocabulary); the files do not belong together")
            }
            do throws(TokenizerError) {
                return try model.tokenizer.encodeTables()
            } catch {
                throw ImportError(.badTokenizer, "\(model.tokenizerFile): \(error.message)")
            }
        }

        private static func compile(_ template: LoadedModel.ChatTemplate) throws(ImportError) -> [UInt8] {
            do throws(TemplateError) {
                return try Template.compile(source: template.source)
            } catch {
                throw ImportError(.unsupportedTemplate, "\(template.place): \(error.message)")
            }
        }
    }
}
