// The import process's side of its channel, against a node played by the test.
import FoundationEssentials
import FunctionModel
import Glibc
import ModelImport
import Syscall
import Testing
import Wire

@Suite struct ImportProcessTests {
    /// Serves an import until it ends: the events it sent, and its exit code.
    private func serve(
        _ files: ModelFiles, _ options: DeployOptions = DeployOptions(name: "m"), known: Bool = false,
        refuseFrom index: UInt32 = .max
    ) throws -> (events: [ImportEvent], code: Int32) {
        let (ours, theirs) = try Seqpacket.pair()
        let result = Outcome()
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Context(channel: theirs, outcome: result))
        pthread_create(
            &thread, nil,
            { raw in
                guard let raw else { return nil }
                let context = Unmanaged<Context>.fromOpaque(raw).takeRetainedValue()
                context.outcome.code = ImportProcess.serve(channel: context.channel.raw)
                shutdown(context.channel.raw, Int32(SHUT_RDWR))
                return nil
            }, context.toOpaque())
        let sources = try files.files.sorted { $0.key < $1.key }.map {
            ($0.key, Descriptor(owning: try unnamedFile($0.value)))
        }
        for (index, source) in sources.enumerated() {
            try Seqpacket.send(
                ours.raw, ImportCommand.start(options, files: [source.0], more: index + 1 < sources.count).frame,
                descriptors: [source.1.raw])
        }
        var events: [ImportEvent] = []
        while let packet = try Seqpacket.receive(ours.raw) {
            let event = try ImportEvent(frame: packet.bytes)
            events.append(event)
            switch event {
            case .has(let shard, _) where shard < index: try Seqpacket.send(ours.raw, ImportCommand.has(known).frame)
            case .create(let shard, _) where shard < index:
                let file = Descriptor(owning: try unnamedFile([]))
                try Seqpacket.send(ours.raw, ImportCommand.created.frame, descriptors: [file.raw])
            case .finish: try Seqpacket.send(ours.raw, ImportCommand.finished.frame)
            case .has, .create:
                try Seqpacket.send(ours.raw, ImportCommand.refused(code: "no_space", message: "the disk is full").frame)
            default: break
            }
        }
        pthread_join(thread, nil)
        return (events, result.code)
    }

    private final class Outcome: @unchecked Sendable { var code: Int32 = -1 }

    private final class Context {
        let channel: Descriptor
        let outcome: Outcome
        init(channel: Descriptor, outcome: Outcome) { (self.channel, self.outcome) = (channel, outcome) }
    }

    @Test("A model goes over the channel shard by shard and ends with its manifest")
    func success() throws {
        let (events, code) = try serve(try ModelFiles.folder("qwen2moe"))
        #expect(code == 0)
        var (json, finished): ([UInt8], [UInt32]) = ([], [])
        for event in events {
            if case .manifest(let part, _) = event { json += part }
            if case .finish(let index, let digest, _) = event {
                #expect(digest.count == 32)
                finished.append(index)
            }
        }
        #expect(finished == Array(0..<65))
        guard case .manifest(_, true) = events.last else {
            Issue.record("the manifest is not the last word")
            return
        }
        let manifest = try ImportManifest(json: Data(json))
        #expect(manifest.functions.count == 65)
        #expect(try ModelFiles.folder("qwen2moe").run().manifest == manifest)
    }

    @Test("What node has already is neither created nor finished")
    func probe() throws {
        let options = DeployOptions(name: "m", expertsPerFunction: 0, probe: true)
        let (events, code) = try serve(try ModelFiles.gguf("qwen2moe.Q4_0"), options, known: true)
        #expect(code == 0)
        #expect(events.count { if case .has = $0 { true } else { false } } == 5)
        #expect(!events.contains { if case .create = $0 { true } else { false } })
    }

    @Test("What is wrong with a model or its options is told by code and message")
    func failures() throws {
        let nonsense = try serve(ModelFiles(files: ["x.gguf": Array("nonsense".utf8)]))
        let format = try serve(try ModelFiles.gguf("qwen2moe.Q4_0"), DeployOptions(name: "m", quantize: "q2_k"))
        let full = try serve(try ModelFiles.gguf("qwen2moe.Q4_0"), refuseFrom: 3)
        for (result, wanted, word) in [
            (nonsense, "not_a_model", "x.gguf"), (format, "bad_options", "q2_k"), (full, "no_space", "disk"),
        ] {
            #expect(result.code == 0)
            guard case .failed(let code, let message) = result.events.last else {
                Issue.record("the failure was not told")
                continue
            }
            #expect(code == wanted)
            #expect(message.contains(word))
        }
    }

    @Test("A node that says nonsense or goes away ends the import")
    func confusedNode() throws {
        for frame in [ImportCommand.created.frame, [1, 99], [7]] {
            let (ours, theirs) = try Seqpacket.pair()
            try Seqpacket.send(ours.raw, frame)
            #expect(ImportProcess.serve(channel: theirs.raw) == 0)
            let packet = try #require(try Seqpacket.receive(ours.raw))
            guard case .failed = try ImportEvent(frame: packet.bytes) else {
                Issue.record("the failure was not told")
                continue
            }
        }
        let (gone, theirs) = try Seqpacket.pair()
        shutdown(gone.raw, Int32(SHUT_RDWR))
        #expect(ImportProcess.serve(channel: theirs.raw) == 1)
    }
}
