// `locum backup`: everything deployed in one file, while the service runs. Control says at one moment what is
// deployed; shards never change and are named after their bytes, so copying the named ones, however long it takes,
// gives that moment's state. One that is removed meanwhile means that something was deployed or removed: then from the
// beginning.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel

struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write all models, tenants, keys and what was used to one file, while Locum runs.",
        discussion: """
            FILE is a tar file: `tar tf FILE` lists it. Every shard is hashed as it is copied. FILE appears only when
            it is whole, and one that is there is not replaced.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "File to make.", completion: .file()) var file: String
    @Flag(help: "Print JSON.") var json = false

    private static let mostTries = 5

    struct Report: Codable {
        var file: String
        var models: [String]
        var shards: Int
        var bytes: Int
    }

    func run() throws {
        try reporting {
            let report = try make()
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                return write(bytes: Array(try encoder.encode(report)) + [10])
            }
            write(
                text: "\(file): \(report.models.count) models, \(report.shards) shards, \(Human.bytes(report.bytes))\n")
        }
    }

    private func make() throws -> Report {
        var last: BackupIndex?
        for _ in 0..<Self.mostTries {
            let index = try daemon.client.get("/admin/backup", as: BackupIndex.self)
            do {
                let writer = try BackupWriter(file)
                let (shards, bytes) = try writer.write(index, from: daemon.folder + "/shards") {
                    try daemon.client.get("/admin/usage/hours?from=\($0)", as: [UsageHour].self)
                }
                return Report(file: file, models: index.models.map(\.name), shards: shards, bytes: bytes)
            } catch let gone as BackupWriter.ShardGone {
                // Nothing changed, and yet it is not there.
                if last == index { throw gone }
                last = index
            }
        }
        throw BackupWriter.Failure(
            description: "models were deployed or removed during each of \(Self.mostTries) attempts; try again")
    }
}
