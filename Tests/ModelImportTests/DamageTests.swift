// Damage without a plan: files cut off anywhere and bytes changed anywhere are refused or still make a
// model, and never end the process.
import ModelImport
import SeededRandom
import Testing

@Suite struct DamageTests {
    @Test("A GGUF file cut off anywhere is refused")
    func truncatedGGUF() throws {
        let file = GGUFImage.tiny().file
        let header = 9000
        for length in Array(stride(from: 0, to: header, by: 13)) + Array(stride(from: header, to: file.count, by: 2999))
        {
            let error = #expect(throws: ImportError.self) {
                try ModelFiles(files: ["cut.gguf": Array(file[..<length])]).run()
            }
            #expect(error?.message.contains("cut.gguf") == true)
        }
    }

    @Test(
        "A file of a folder cut off anywhere is refused",
        arguments: [
            "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors",
        ])
    func truncatedFolder(_ name: String) throws {
        let files = try ModelFiles.folder("qwen2moe")
        let bytes = files.files[name] ?? []
        for length in stride(from: 0, to: bytes.count - 2, by: max(1, bytes.count / 60)) {
            var cut = files
            cut.files[name] = Array(bytes[..<length])
            let error = #expect(throws: ImportError.self) { try cut.run() }
            #expect(error?.message.contains(name) == true)
        }
    }

    @Test("A GGUF header with changed bytes is refused or still a model")
    func mutatedGGUF() {
        var dice = SplitMix64(1)
        let file = GGUFImage.tiny().file
        for _ in 0..<400 {
            var damaged = file
            for _ in 0...dice.below(4) { damaged[dice.below(8000)] = UInt8(dice.below(256)) }
            do {
                _ = try ModelFiles(files: ["damaged.gguf": damaged]).run()
            } catch {
                #expect((error as? ImportError)?.message.contains("damaged.gguf") == true, "\(error)")
            }
        }
    }

    @Test("JSON files with changed bytes are refused or still a model")
    func mutatedFolder() throws {
        var dice = SplitMix64(2)
        let files = try ModelFiles.folder("qwen2moe")
        let names = [
            "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors",
        ]
        for round in 0..<100 {
            var damaged = files
            let name = names[round % names.count]
            var bytes = damaged.files[name] ?? []
            let reach = name == "model.safetensors" ? 27_736 : bytes.count
            for _ in 0...dice.below(3) { bytes[dice.below(reach)] = UInt8(dice.below(256)) }
            damaged.files[name] = bytes
            do {
                _ = try damaged.run(ImportOptions(expertsPerFunction: 0, layersPerFunction: 0))
            } catch {
                #expect(error is ImportError, "\(error)")
            }
        }
    }
}
