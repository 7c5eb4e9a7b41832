// `locum verify`, and how what an earlier Locum wrote is rewritten: a model with such shards is deployed anew from what is
// stored, in the way of every deployment, so that it is whole in the one layout or in the other.
import ArgumentParser
import CLinux
import ControlClient
import FoundationEssentials
import FunctionModel
import Glibc
import Syscall
import Wire

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Hash every stored shard again and compare.",
        discussion: """
            Exit code 1 when a shard is damaged or has an earlier layout. Deploying a damaged one's model again repairs it;
            --repair rewrites those of an earlier layout from what is stored, model by model, so the disk needs room for one
            model more. Answers stay the same.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Flag(help: "Rewrite the shards that an earlier version of Locum has written.") var repair = false
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            var report = try verified()
            if repair, !report.older.isEmpty {
                let index = try daemon.client.get("/admin/backup", as: BackupIndex.self)
                // A damaged shard is to be had from its source alone, and with it the others.
                for name in Set(Self.models(report.older)).subtracting(Self.models(report.damaged)).sorted() {
                    guard let model = index.models.first(where: { $0.name == name }) else { continue }
                    _ = try Deployment(daemon).run(model.deployOptions, try stored(model))
                    if !json { write(text: "rewrote the shards of \(name)\n") }
                }
                report = try verified()
            }
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                write(bytes: Array(try encoder.encode(report)) + [10])
            } else {
                write(text: Self.text(report))
            }
            if report.intact < report.shards { throw ExitCode(Code.failed) }
        }
    }

    private func verified() throws -> VerifyReport {
        let answer = try daemon.client.request("POST", "/admin/verify", body: Data("{}".utf8))
        return try JSONDecoder().decode(VerifyReport.self, from: answer)
    }

    private static func text(_ report: VerifyReport) -> String {
        var text = ""
        for damage in report.damaged {
            text += "damaged: \(damage.digest) (\(damage.functions.joined(separator: ", "))): \(damage.message)\n"
        }
        for model in models(report.older) {
            let count = report.older.count { $0.functions.contains { $0.hasPrefix(model + "/") } }
            text += "older: \(count) shards of \(model) have an earlier layout; `locum verify --repair` rewrites them\n"
        }
        return text + "\(report.intact) of \(report.shards) shards ok\n"
    }

    /// Whose functions these are.
    private static func models(_ shards: [VerifyReport.Damage]) -> [String] {
        Set(shards.flatMap(\.functions).compactMap { $0.split(separator: "/").first.map(String.init) }).sorted()
    }

    /// The model's record and its shards' files, as the import of `StoredModel` takes them.
    private func stored(_ model: BackupIndex.Model) throws -> [SourceFile] {
        let record = Descriptor(
            owning: try check(locum_memfd_create("locum-model", LOCUM_MFD_CLOEXEC), "make a file in memory"))
        let json = Array(try JSONEncoder().encode(model))
        var done = 0
        while done < json.count {
            done += try check(
                json.withUnsafeBytes { Glibc.write(record.raw, $0.baseAddress.map { $0 + done }, $0.count - done) },
                "write the record of \(model.name)")
        }
        var files = [SourceFile(name: BackupIndex.record, descriptor: record)]
        // A model may have more shards than the usual soft limit has files.
        _ = locum_raise_file_limit()
        for digest in Set(model.shards).sorted() {
            let path = "\(daemon.folder)/shards/\(digest)"
            let file = Descriptor(owning: try check(open(path, O_RDONLY | O_CLOEXEC), "open \(path)"))
            files.append(SourceFile(name: digest, descriptor: file))
        }
        return files
    }
}
