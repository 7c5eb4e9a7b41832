// What the sandboxed import process does with its channel: take options and files, import, tell the end.
// Everything that is wrong with a model is told as `failed`; only a broken channel ends it silently.
import FunctionModel
import Syscall
import Wire

public enum ImportProcess {
    private static let manifestPart = 64 << 10
    private static let longestMessage = 4096
    private static let mostFiles = 8192

    /// Imports one model.
    /// - Parameter channel: a seqpacket socket to node (`ImportCommand` in, `ImportEvent` out).
    /// - Returns: an exit code: 0 when node heard how it ended.
    public static func serve(channel: Int32) -> Int32 {
        let sink = ChannelSink(channel: channel)
        do throws(ImportError) {
            let (options, sources, descriptors) = try start(sink)
            let manifest = try withExtendedLifetime(descriptors) { () throws(ImportError) in
                options.planOnly && !options.isDryRun
                    ? try ModelImport.plan(sources: sources, options: try ImportOptions(options))
                    : try ModelImport.run(
                        sources: sources, options: try ImportOptions(options), sink: sink,
                        planned: { manifest throws(ImportError) in
                            try tell(manifest, sink) { .plan(part: $0, last: $1) }
                        }, progress: sink.progress)
            }
            try tell(manifest, sink) { .manifest(part: $0, last: $1) }
            return 0
        } catch {
            return fail(channel: channel, code: error.code, message: error.message)
        }
    }

    /// Tells node that nothing will come of it.
    /// - Returns: an exit code: 0 when it could be told.
    public static func fail(channel: Int32, code: String, message: String) -> Int32 {
        let short = String(message.unicodeScalars.prefix(longestMessage).map { Character($0) })
        do throws(ImportError) {
            try ChannelSink(channel: channel).send(.failed(code: code, message: short))
            return 0
        } catch {
            return 1
        }
    }

    /// The options, and all files with what keeps them open.
    private static func start(
        _ sink: ChannelSink
    ) throws(ImportError) -> (DeployOptions, [ImportSource], [Descriptor]) {
        var (sources, kept): ([ImportSource], [Descriptor]) = ([], [])
        while true {
            let (command, descriptors) = try sink.answer()
            guard case .start(let options, let files, let more) = command, files.count == descriptors.count,
                sources.count + files.count <= mostFiles
            else {
                throw ImportError(.refused, "the node did not begin with the model's files")
            }
            sources += zip(files, descriptors).map { ImportSource(name: $0, descriptor: $1.raw) }
            kept += descriptors
            if !more { return (options, sources, kept) }
        }
    }

    private static func tell(
        _ manifest: ImportManifest, _ sink: ChannelSink, as event: ([UInt8], Bool) -> ImportEvent
    ) throws(ImportError) {
        let json: [UInt8]
        do {
            json = Array(try manifest.json())
        } catch {
            throw ImportError(.badConfig, "the manifest cannot be written as JSON: \(error)")
        }
        for start in stride(from: 0, to: json.count, by: manifestPart) {
            let end = min(start + manifestPart, json.count)
            try sink.send(event(Array(json[start..<end]), end == json.count))
        }
    }
}
