// Models as sets of files in memory, which tests change at will and then import through real descriptors
// into a sink that keeps every shard.
import FunctionModel
import Crypto
import Foundation
import Glibc
import ModelImport
import Shard

/// The files of a model by name.
struct ModelFiles {
    var files: [String: [UInt8]] = [:]

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let nano = root.appendingPathComponent("Tests/Conformance/nano")

    /// A Hugging Face folder of the nano models.
    static func folder(_ name: String) throws -> ModelFiles {
        try ModelFiles(folder: nano.appendingPathComponent(name))
    }

    /// A nano GGUF file, for example `qwen2moe.Q8_0`.
    static func gguf(_ name: String) throws -> ModelFiles {
        let file = nano.appendingPathComponent("gguf/\(name).gguf")
        return ModelFiles(files: [file.lastPathComponent: Array(try Data(contentsOf: file))])
    }

    static func tales() throws -> ModelFiles {
        try ModelFiles(folder: root.appendingPathComponent("Runtime/Models/tales-moe"))
    }

    init(files: [String: [UInt8]]) { self.files = files }

    private init(folder: URL) throws {
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where file.pathExtension == "json" || file.pathExtension == "safetensors" {
            files[file.lastPathComponent] = Array(try Data(contentsOf: file))
        }
    }

    /// Changes a JSON file as an object.
    mutating func edit(_ name: String, _ change: (inout [String: Any]) -> Void) throws {
        let parsed = try JSONSerialization.jsonObject(with: Data(files[name] ?? []))
        guard var object = parsed as? [String: Any] else { throw CocoaError(.coderReadCorrupt) }
        change(&object)
        files[name] = Array(try JSONSerialization.data(withJSONObject: object))
    }

    /// Changes a text file by replacing the first `old`.
    mutating func replace(_ name: String, _ old: String, _ new: String) throws {
        let bytes = Data(files[name] ?? [])
        guard let range = bytes.range(of: Data(old.utf8)) else { throw CocoaError(.fileReadUnknown) }
        files[name] = Array(bytes[..<range.lowerBound] + Data(new.utf8) + bytes[range.upperBound...])
    }

    /// Imports the files.
    func run(_ options: ImportOptions = ImportOptions(), sink: MemorySink = MemorySink()) throws -> Imported {
        let sources = try files.sorted { $0.key < $1.key }.map { name, bytes in
            ImportSource(name: name, descriptor: try unnamedFile(bytes))
        }
        defer { for source in sources { close(source.descriptor) } }
        let manifest = try ModelImport.run(sources: sources, options: options, sink: sink) { done, total, _ in
            sink.progress.append((done, total))
        }
        return Imported(manifest: manifest, sink: sink)
    }
}

/// A file without a name that holds `bytes`.
func unnamedFile(_ bytes: [UInt8]) throws -> Int32 {
    var template = Array("/tmp/locum-test-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw POSIXError(.EIO) }
    unlink(template)
    var done = 0
    while done < bytes.count {
        let wrote = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done) }
        guard wrote > 0 else { throw POSIXError(.EIO) }
        done += wrote
    }
    return descriptor
}

/// Keeps shards in memory.
final class MemorySink: ShardSink {
    private(set) var shards: [Int: [UInt8]] = [:]
    private(set) var digests: [Int: [UInt8]] = [:]
    private(set) var created = 0
    /// What `has` answers yes to.
    var known: Set<[UInt8]> = []
    var progress: [(UInt64, UInt64)] = []
    /// When set, files are this descriptor instead (a full disk).
    var device: Int32?
    private var open: Int32 = -1

    func has(index: Int, digest: [UInt8]) throws(ImportError) -> Bool {
        guard known.contains(digest) else { return false }
        digests[index] = digest
        return true
    }

    func create(index: Int, length: Int) throws(ImportError) -> Int32 {
        created += 1
        if let device { return device }
        guard let descriptor = try? unnamedFile([]) else { throw ImportError(.writeFailed, "no temporary file") }
        open = descriptor
        return descriptor
    }

    func finish(index: Int, digest: [UInt8], length: Int) throws(ImportError) {
        var bytes = [UInt8](repeating: 0, count: length + 1)
        let got = pread(open, &bytes, bytes.count, 0)
        close(open)
        guard got == length else { throw ImportError(.writeFailed, "shard \(index) has \(got) bytes of \(length)") }
        bytes.removeLast()
        guard Array(SHA256.hash(data: bytes)) == digest else { throw ImportError(.writeFailed, "digest \(index)") }
        shards[index] = bytes
        digests[index] = digest
    }
}

/// What an import made.
struct Imported {
    let manifest: ImportManifest
    let sink: MemorySink

    var digests: [[UInt8]] { manifest.functions.map { sink.digests[$0.shard] ?? [] } }
    var expertDigests: [[UInt8]] { Array(digests.dropFirst()) }

    /// A shard, validated, and its bytes.
    func shard(_ index: Int) throws -> (view: ShardView, raw: UnsafeRawBufferPointer) {
        let raw = pages(sink.shards[index] ?? [])
        return (try ShardView(validating: raw), raw)
    }
}

/// Bytes at a page boundary, as a mapping has them. They stay for the life of the test process, so that no
/// view of them can dangle.
func pages(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 4096)
    memory.copyBytes(from: bytes)
    return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<bytes.count])
}
