// A whole import as locum-import does it, and the other ends of what comes of it: a worker opens each shard, control
// takes the manifest. What an import accepts, they must accept.
import FunctionModel
import Kernels
import Shard

@testable import ModelImport

enum Imports {
    static func run(_ files: [(name: String, bytes: [UInt8])]) {
        let sources = files.map { MemoryFiles.source($0.name, $0.bytes) }
        for quantize in [nil, WeightFormat.q4_0] {
            do throws(ImportError) {
                let manifest = try ModelImport.run(
                    sources: sources, options: ImportOptions(quantize: quantize), sink: OpeningSink()
                ) { _, _, _ in }
                Manifests.take(manifest, shards: manifest.functions.count, mustFit: true)
            } catch {
                precondition(!error.message.isEmpty)
                return
            }
        }
    }
}

/// Opens every shard as soon as it is written.
private final class OpeningSink: ShardSink {
    private var file: Int32 = -1

    func has(index: Int, digest: [UInt8]) -> Bool { false }

    func create(index: Int, length: Int) -> Int32 {
        file = MemoryFiles.empty("shard")
        return file
    }

    func finish(index: Int, digest: [UInt8], length: Int) {
        let bytes = MemoryFiles.contents(file)
        precondition(bytes.count == length)
        withPages(bytes) { raw in
            do { try WorkerShard.open(raw) } catch {
                fatalError("a shard that was just written does not open: \(error)")
            }
        }
    }
}
