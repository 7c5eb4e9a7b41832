// The header of a GGUF file, version 2 or 3: metadata, then descriptions of tensors, then their data at an
// alignment. See https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Dimensions come innermost
// first there and are turned round here.
import Kernels

struct GGUFFile {
    let file: SourceFile
    private let values: [String: GGUFValue]
    let tensors: TensorTable

    /// Arrays whose elements are kept.
    private static let wantedArrays: Set<String> = [
        "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.scores",
    ]
    private static let mostValues = 65_536

    init(_ file: SourceFile) throws(ImportError) {
        self.file = file
        var cursor = GGUFCursor(file)
        let tensorCount = try Self.start(&cursor)
        let valueCount = try cursor.count(most: Self.mostValues, "metadata values")
        var values: [String: GGUFValue] = [:]
        for _ in 0..<valueCount {
            let key = try cursor.string("a metadata key")
            let value = try GGUFValue(&cursor, key: key, keep: Self.wantedArrays.contains(key))
            guard values.updateValue(value, forKey: key) == nil else { throw cursor.bad("\(key) stands twice") }
        }
        self.values = values
        tensors = try Self.readTensors(&cursor, count: tensorCount, alignment: try Self.alignment(values, cursor))
    }

    /// What the first part of a model says, with the tensors of all parts.
    init(_ first: GGUFFile, tensors: TensorTable) { (file, values, self.tensors) = (first.file, first.values, tensors) }

    /// Magic and version; gives the number of tensors.
    private static func start(_ cursor: inout GGUFCursor) throws(ImportError) -> Int {
        let magic = try cursor.integer(UInt32.self, "the magic number")
        guard magic == 0x4655_4747 else {
            throw ImportError(
                .notAModel,
                "\(cursor.file.name): the file does not begin with GGUF; name a GGUF file, or a folder "
                    + "with config.json and model.safetensors")
        }
        let version = try cursor.integer(UInt32.self, "the version")
        guard (2...3).contains(version) else {
            let swapped = (2...3).contains(version.byteSwapped)
            throw ImportError(
                .unsupportedFormat,
                "\(cursor.file.name): GGUF version \(version)"
                    + (swapped ? " (a big-endian file)" : "")
                    + ", Locum reads versions 2 and 3, little-endian; convert the model again")
        }
        return try cursor.count(most: TensorTable.most, "tensors")
    }

    private static func alignment(_ values: [String: GGUFValue], _ cursor: GGUFCursor) throws(ImportError) -> Int {
        guard let value = values["general.alignment"] else { return 32 }
        guard case .integer(let bytes) = value, (8...65_536).contains(bytes), bytes & (bytes - 1) == 0 else {
            throw cursor.bad("general.alignment must be a power of two from 8 to 65536")
        }
        return bytes
    }

    private static func readTensors(
        _ cursor: inout GGUFCursor, count: Int, alignment: Int
    ) throws(ImportError) -> TensorTable {
        var table = TensorTable()
        var found: [SourceTensor] = []
        let file = cursor.file
        for _ in 0..<count {
            let name = try cursor.string("a tensor's name")
            let dimensions = try cursor.integer(UInt32.self, "the dimensions of \(name)")
            guard (1...4).contains(dimensions) else {
                throw cursor.bad("tensor \(name) has \(dimensions) dimensions, 1 to 4 are possible")
            }
            var shape: [Int] = []
            for _ in 0..<dimensions { shape.append(try cursor.count(most: 1 << 40, "elements in a row of \(name)")) }
            shape.reverse()
            let type = try cursor.integer(UInt32.self, "the type of \(name)")
            guard let format = WeightFormat(ggmlType: type) else {
                throw ImportError(
                    .unsupportedFormat,
                    "\(file.name): tensor \(name) is \(typeName(type)), Locum reads "
                        + "\(WeightFormat.allCases.map { $0.name.uppercased() }.joined(separator: ", ")); "
                        + "use a file in these")
            }
            guard let length = SourceTensor.byteLength(shape: shape, format: format) else {
                throw cursor.bad("tensor \(name) has the impossible shape \(shape) in \(format.name)")
            }
            let offset = try cursor.count(most: 1 << 46, "bytes before tensor \(name)")
            guard offset % alignment == 0 else {
                throw cursor.bad("tensor \(name) lies at \(offset), which is no multiple of \(alignment)")
            }
            found.append(
                SourceTensor(file: file, name: name, format: format, shape: shape, offset: offset, length: length))
        }
        let data = (cursor.offset + alignment - 1) / alignment * alignment
        for t in found {
            guard data + t.offset + t.length <= file.size else {
                throw ImportError(
                    .truncated,
                    "\(file.name): tensor \(t.name) should end at byte \(data + t.offset + t.length), the "
                        + "file ends at \(file.size); download it again")
            }
            try table.add(
                SourceTensor(
                    file: file, name: t.name, format: t.format, shape: t.shape, offset: data + t.offset,
                    length: t.length))
        }
        return table
    }

    private static func typeName(_ type: UInt32) -> String {
        let names: [UInt32: String] = [
            9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
            20: "IQ4_NL", 21: "IQ3_S",
            22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
            34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
        ]
        return names[type] ?? "of the unknown type \(type)"
    }
}

/// Typed look-ups. A value that is there with another type is an error, never taken for absent.
extension GGUFFile {
    private func wrong(_ key: String, _ wanted: String, _ found: GGUFValue) -> ImportError {
        ImportError(
            .badGGUF, "\(file.name): \(key) should be \(wanted), but is \(found.words); convert the model again")
    }

    func int(_ key: String) throws(ImportError) -> Int? {
        guard let value = values[key] else { return nil }
        guard case .integer(let number) = value else { throw wrong(key, "a whole number", value) }
        return number
    }

    func double(_ key: String) throws(ImportError) -> Double? {
        guard let value = values[key] else { return nil }
        switch value {
        case .float(let number): return number
        case .integer(let number): return Double(number)
        default: throw wrong(key, "a number", value)
        }
    }

    func bool(_ key: String) throws(ImportError) -> Bool? {
        guard let value = values[key] else { return nil }
        guard case .bool(let flag) = value else { throw wrong(key, "true or false", value) }
        return flag
    }

    func string(_ key: String) throws(ImportError) -> String? {
        guard let value = values[key] else { return nil }
        guard case .string(let text) = value else { throw wrong(key, "a string", value) }
        return text
    }

    func strings(_ key: String) throws(ImportError) -> [String]? {
        guard let value = values[key] else { return nil }
        guard case .strings(let texts) = value else { throw wrong(key, "an array of strings", value) }
        return texts
    }

    func ints(_ key: String) throws(ImportError) -> [Int]? {
        guard let value = values[key] else { return nil }
        guard case .integers(let numbers) = value else { throw wrong(key, "an array of whole numbers", value) }
        return numbers
    }

    func floats(_ key: String) throws(ImportError) -> [Float]? {
        guard let value = values[key] else { return nil }
        guard case .floats(let numbers) = value else { throw wrong(key, "an array of numbers", value) }
        return numbers
    }

    /// A value without which the file is no model.
    func required<T>(_ key: String, _ value: T?) throws(ImportError) -> T {
        guard let value else {
            throw ImportError(.badGGUF, "\(file.name): the metadata value \(key) is missing; convert the model again")
        }
        return value
    }
}
