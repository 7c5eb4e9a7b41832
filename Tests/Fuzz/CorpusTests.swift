// Every input that the fuzz targets start from, among them every one that once broke something, without libFuzzer.
import Foundation
import Kernels
import Testing

@Suite("The corpus of the fuzz targets")
struct CorpusTests {
    @Test("no input breaks a parser, and each target has inputs", arguments: FuzzTarget.all.map(\.name))
    func corpus(name: String) throws {
        Kernels.initialize()
        let target = try #require(FuzzTarget.all.first { $0.name == name })
        let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Corpus/\(name)")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        #expect(!files.isEmpty)
        for file in files { target.body([UInt8](try Data(contentsOf: file))) }
    }
}
