// The header of a safetensors file: u64 length, then a JSON object of tensors with dtype, shape and a byte
// range in what follows. See https://github.com/huggingface/safetensors. Headers lie when hostile: the
// range must fit the file and agree with dtype and shape.
import Kernels

enum SafetensorsFile {
    /// As the reference implementation has it.
    static let longestHeader = 100_000_000

    /// Adds the tensors of `file` to `table`.
    static func read(_ file: SourceFile, into table: inout TensorTable) throws(ImportError) {
        func bad(_ why: String) -> ImportError {
            ImportError(.badSafetensors, "\(file.name): \(why); download the file again")
        }
        guard file.size >= 10 else {
            throw ImportError(
                .truncated, "\(file.name): \(file.size) bytes are too few for a safetensors file; download it again")
        }
        let length = try file.bytes(at: 0, count: 8, what: "the header's length")
            .reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length >= 2, length <= longestHeader else {
            throw bad("byte 0: a header of \(length) bytes, but 2 to \(longestHeader) are possible")
        }
        let data = 8 + Int(length)
        guard data <= file.size else {
            throw ImportError(
                .truncated, "\(file.name): the header ends at byte \(data), the file at \(file.size); download it again"
            )
        }
        var json = JSONReader(file: file.name, bytes: try file.bytes(at: 8, count: Int(length), what: "the header"))
        try json.document { json throws(ImportError) in
            try json.object { json, name throws(ImportError) in
                if name == "__metadata__" { return try json.skip() }
                let info = try Info(&json)
                guard let format = info.format else {
                    throw ImportError(
                        .unsupportedFormat,
                        "\(file.name): tensor \(name) has dtype \(info.dtype), Locum reads "
                            + "F32, F16 and BF16; use a copy of the model in one of these")
                }
                guard let bytes = SourceTensor.byteLength(shape: info.shape, format: format) else {
                    throw bad("tensor \(name) has the impossible shape \(info.shape)")
                }
                guard info.begin >= 0, info.begin <= info.end, info.end <= file.size - data else {
                    throw ImportError(
                        info.end > file.size - data ? .truncated : .badSafetensors,
                        "\(file.name): tensor \(name) should lie at data bytes \(info.begin) to \(info.end), the file "
                            + "has \(file.size - data); download it again")
                }
                guard info.end - info.begin == bytes else {
                    throw bad(
                        "tensor \(name) of shape \(info.shape) in \(info.dtype) takes \(bytes) bytes, "
                            + "data_offsets give it \(info.end - info.begin)")
                }
                try table.add(
                    SourceTensor(
                        file: file, name: name, format: format, shape: info.shape, offset: data + info.begin,
                        length: bytes))
            }
        }
    }

    /// One tensor's description.
    private struct Info {
        var dtype = ""
        var shape: [Int] = []
        var begin = -1
        var end = -1

        var format: WeightFormat? {
            switch dtype {
            case "F32": .f32
            case "F16": .f16
            case "BF16": .bf16
            default: nil
            }
        }

        init(_ json: inout JSONReader) throws(ImportError) {
            var (offsets, hasShape): ([Int], Bool) = ([], false)
            var info = Info()
            try json.object { json, key throws(ImportError) in
                switch key {
                case "dtype": info.dtype = try json.string()
                case "shape":
                    try json.expect(.array)
                    info.shape = try json.ints(most: 8)
                    hasShape = true
                case "data_offsets":
                    try json.expect(.array)
                    offsets = try json.ints(most: 8)
                default: try json.skip()
                }
            }
            guard !info.dtype.isEmpty, hasShape, offsets.count == 2 else {
                throw ImportError(
                    .badSafetensors,
                    "\(json.place): a tensor needs dtype, shape and two data_offsets; "
                        + "download the file again")
            }
            (info.begin, info.end) = (offsets[0], offsets[1])
            self = info
        }

        private init() {}
    }
}
