// A nano model imported for real, its shards mapped, ready for an engine.
import CLinux
import Foundation
import Glibc
import Kernels
import ModelImport
import Shard
import Syscall

@testable import Worker

/// Keeps finished shards in unnamed files.
final class ShardFiles: ShardSink {
    var files: [Int: FileHandle] = [:]

    func has(index: Int, digest: [UInt8]) -> Bool { false }

    func create(index: Int, length: Int) throws(ImportError) -> Int32 {
        do {
            let path = FileManager.default.temporaryDirectory.appendingPathComponent("shard-\(UUID().uuidString)")
            let raw = open(path.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            try check(raw, "make a file for a shard")
            unlink(path.path)
            files[index] = FileHandle(fileDescriptor: raw, closeOnDealloc: true)
            return raw
        } catch {
            throw ImportError(.writeFailed, "\(error)")
        }
    }

    func finish(index: Int, digest: [UInt8], length: Int) {}
}

final class NanoModel {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
    static let nano = root.appendingPathComponent("Tests/Conformance/nano")

    let files = ShardFiles()
    let config: RouterConfig
    let router: ShardView
    let experts: [ExpertModel]
    private let mappings: [Mapping]

    /// - Parameter name: of a folder or a GGUF file in Tests/Conformance/nano.
    convenience init(_ name: String, _ options: ImportOptions = ImportOptions(kvType: "f32")) throws {
        try self.init(Self.nano.appendingPathComponent(name), options)
    }

    init(_ url: URL, _ options: ImportOptions = ImportOptions(kvType: "f32")) throws {
        Kernels.initialize()
        var handles: [FileHandle] = []
        func source(_ url: URL) throws -> ImportSource {
            let handle = try FileHandle(forReadingFrom: url)
            handles.append(handle)
            return ImportSource(name: url.lastPathComponent, descriptor: handle.fileDescriptor)
        }
        let sources =
            url.pathExtension == "gguf"
            ? [try source(url)]
            : try FileManager.default.contentsOfDirectory(at: url, includingPropertiesForKeys: nil).map(source)
        _ = try ModelImport.run(sources: sources, options: options, sink: files) { _, _, _ in }
        var mappings: [Mapping] = []
        var views: [ShardView] = []
        for index in 0..<files.files.count {
            guard let handle = files.files[index] else {
                throw SyscallError(stage: "find shard \(index)", errno: ENOENT)
            }
            let length = Int(try handle.seekToEnd())
            let mapping = try Mapping(handle.fileDescriptor, count: length, writable: false)
            mappings.append(mapping)
            views.append(try ShardView(validating: UnsafeRawBufferPointer(start: mapping.base, count: length)))
        }
        self.mappings = mappings
        router = views[0]
        config = try router.routerConfig()
        experts = try views.dropFirst().map { try ExpertModel($0) }
    }

    /// An engine that applies the experts itself.
    func engine(threads: Int = 1) throws -> Engine {
        let pool = try ComputePool(cpus: Array(TestCPUs.all.prefix(threads)))
        let dispatcher = try LocalDispatcher(experts, config, owner: self, threads: pool.count)
        return try Engine(shard: router, config: config, pool: pool, dispatcher: dispatcher)
    }
}

enum TestCPUs {
    /// Those that this process may run on.
    static let all: [UInt32] = {
        var cpus = [Int32](repeating: 0, count: 1024)
        let count = locum_allowed_cpus(&cpus, Int32(cpus.count))
        return cpus.prefix(max(0, Int(count))).map { UInt32($0) }
    }()
}
