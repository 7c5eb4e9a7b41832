// Damage without a plan: files cut off anywhere and bytes changed anywhere are refused or still make a
// model, and never end the process.
import ModelImport
import Testing

@Suite struct DamageTests {
    /// Deterministic numbers (SplitMix64).
    private struct Dice {
        var state: UInt64
        mutating func roll(_ sides: Int) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Int((z ^ (z >> 31)) % UInt64(sides))
        }
    }

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
        var dice = Dice(state: 1)
        let file = GGUFImage.tiny().file
        for _ in 0..<400 {
            var damaged = file
            for _ in 0...dice.roll(4) { damaged[dice.roll(8000)] = UInt8(dice.roll(256)) }
            do {
                _ = try ModelFiles(files: ["damaged.gguf": damaged]).run()
            } catch {
                #expect((error as? ImportError)?.message.contains("damaged.gguf") == true, "\(error)")
            }
        }
    }

    @Test("JSON files with changed bytes are refused or still a model")
    func mutatedFolder() throws {
        var dice = Dice(state: 2)
        let files = try ModelFiles.folder("qwen2moe")
        let names = [
            "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors",
        ]
        for round in 0..<100 {
            var damaged = files
            let name = names[round % names.count]
            var bytes = damaged.files[name] ?? []
            let reach = name == "model.safetensors" ? 27_736 : bytes.count
            for _ in 0...dice.roll(3) { bytes[dice.roll(reach)] = UInt8(dice.roll(256)) }
            damaged.files[name] = bytes
            do {
                _ = try damaged.run(ImportOptions(expertsPerFunction: 0, layersPerFunction: 0))
            } catch {
                #expect(error is ImportError, "\(error)")
            }
        }
    }
}
