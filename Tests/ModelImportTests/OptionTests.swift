// What a person may ask for, and what cannot be had.
import FunctionModel
import Glibc
import Kernels
import ModelImport
import Testing

@Suite struct OptionTests {
    private func refused(_ options: ImportOptions, _ words: String..., files: ModelFiles) throws {
        let error = #expect(throws: ImportError.self) { try files.run(options) }
        for word in words {
            #expect(error?.message.contains(word) == true, "\(error?.message ?? "") speaks of \(word)")
        }
    }

    @Test("Options that cannot be are refused with the numbers that can")
    func impossible() throws {
        let files = try ModelFiles.folder("qwen2moe")
        try refused(ImportOptions(context: 513), "513", "512", files: files)
        try refused(ImportOptions(context: -1), "512", files: files)
        try refused(ImportOptions(kvType: "f8"), "f8", "f16", files: files)
        try refused(ImportOptions(expertsPerFunction: -1), "-1", files: files)
        try refused(ImportOptions(layersPerFunction: -1), "-1", files: files)
    }

    @Test("Rows that do not divide into blocks cannot be quantised, and the message names a format that works")
    func blocks() throws {
        var image = GGUFImage.tiny()
        image["qwen2moe.expert_shared_feed_forward_length"] = .u32(48)
        for (name, dimensions) in [("gate", [32, 48]), ("up", [32, 48]), ("down", [48, 32])] as [(String, [UInt64])] {
            image.tensor("blk.0.ffn_\(name)_shexp.weight") {
                $0.dimensions = dimensions
                $0.data = [UInt8](repeating: 0, count: 32 * 48 * 4)
            }
        }
        try refused(ImportOptions(quantize: .q8_0), "ffn_down_shexp", "48", "f16", files: image.files)
        #expect(try image.files.run(ImportOptions(quantize: .f16)).manifest.quantization == "F16")
    }

    @Test("A weight too large for the format asked for is refused instead of becoming infinite")
    func overflow() throws {
        var image = GGUFImage.tiny()
        image.tensor("blk.0.attn_output.weight") {
            $0.data.replaceSubrange(0..<4, with: littleEndian(Float(1e6).bitPattern))
        }
        try refused(ImportOptions(quantize: .f16), "attn_output", "bf16", files: image.files)
        #expect(try image.files.run(ImportOptions(quantize: .bf16)).manifest.context == 64)
    }

    @Test("A full disk ends the import with a message about space")
    func fullDisk() throws {
        let sink = MemorySink()
        sink.device = open("/dev/full", O_RDWR | O_CLOEXEC)
        defer { if let device = sink.device { close(device) } }
        let error = #expect(throws: ImportError.self) { try GGUFImage.tiny().files.run(sink: sink) }
        #expect(error?.code == ImportError.Code.noSpace.rawValue)
        #expect(error?.message.contains("space") == true)
    }

    @Test("A folder, a pipe or a closed descriptor in place of a file is refused by name")
    func notFiles() throws {
        var pipes: [Int32] = [-1, -1]
        #expect(pipe(&pipes) == 0)
        let folder = open("/tmp", O_RDONLY | O_DIRECTORY)
        defer { for descriptor in pipes + [folder] { close(descriptor) } }
        for descriptor in [pipes[0], folder, 9999] {
            let error = #expect(throws: ImportError.self) {
                try ModelImport.run(
                    sources: [ImportSource(name: "strange.gguf", descriptor: descriptor)], options: ImportOptions(),
                    sink: MemorySink(), progress: { _, _, _ in })
            }
            #expect(error?.message.contains("strange.gguf") == true)
        }
    }
}
