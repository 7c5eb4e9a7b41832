// An import's manifest at control: it comes from the process that read a stranger's files, and what it says is added
// and multiplied from then on.
import FoundationEssentials
import FunctionModel
import Scheduler

extension FuzzTarget {
    /// A manifest of four shards.
    static let manifest = FuzzTarget("manifest", longest: 4096) { bytes in
        guard let manifest = try? ImportManifest(json: Data(bytes)) else { return }
        Manifests.take(manifest, shards: 4, mustFit: false)
    }
}

enum Manifests {
    /// What control does with a manifest from registering it to starting the model.
    /// - Parameter mustFit: control has no reason to refuse it.
    static func take(_ manifest: ImportManifest, shards: Int, mustFit: Bool) {
        do throws(ManifestError) { try manifest.validate(shards: shards) } catch {
            return precondition(!mustFit, "\(error)")
        }
        guard let json = try? manifest.json() else { preconditionFailure("a manifest cannot be written") }
        precondition((try? ImportManifest(json: json)) == manifest, "it is read back as another one")
        for lanes in [1, 64] {
            let shape = manifest.memoryShape(lanes: lanes)
            precondition(MemoryCost.minimum(shape) > 0 && MemoryCost.workingSet(shape) >= 0)
            _ = MemoryCost.functionsAtOnce(shape, budget: 3 << 30, sequences: 8)
        }
        let functions = manifest.functions.enumerated().map { index, function in
            FunctionRecord(
                id: UInt64(index), model: "m", index: index, name: "m/\(function.name)",
                runtime: index == 0 ? .router : .expert, digest: [UInt8](repeating: 1, count: 32),
                bytes: function.bytes, experts: function.experts, node: "n")
        }
        let record = ModelRecord(
            name: "m", revision: 1, manifest: manifest,
            options: DeployRecord(expertsPerFunction: 1, layersPerFunction: 1, quantize: "", context: 0, kvType: "f16"),
            deployedAt: 0, node: "n", functions: functions)
        let reports = functions.map { FunctionReport($0, state: "none") }
        for value in [
            ModelSummary(record, instances: 0), ModelDescription(record, functions: reports, prediction: nil, lanes: 2),
        ] as [any Encodable] {
            precondition((try? JSONEncoder().encode(value)) != nil)
        }
    }
}
