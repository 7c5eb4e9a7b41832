// As much of safetensors as an evaluation needs: int32 arrays in, float32 and int32 arrays out. A file is the
// header's length (u64 LE), the header (JSON), then the arrays' bytes (https://github.com/huggingface/safetensors).
import FoundationEssentials

struct SafetensorsError: Error, CustomStringConvertible {
    let description: String
}

/// A file's arrays.
struct SafetensorsReader {
    private struct Entry: Decodable {
        // All nil for `__metadata__`.
        let dtype: String?
        let shape: [Int]?
        let data_offsets: [Int]?
    }

    private let path: String
    private let entries: [String: Entry]
    private let payload: [UInt8]

    /// - Throws: `SafetensorsError` when the file is none, or what reading it failed with.
    init(path: String) throws {
        let bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
        let length = bytes.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard bytes.count >= 8, length <= UInt64(bytes.count - 8) else {
            throw SafetensorsError(description: "\(path) is no safetensors file: its header does not fit")
        }
        let header = Data(bytes[8..<8 + Int(length)])
        do {
            entries = try JSONDecoder().decode([String: Entry].self, from: header)
        } catch {
            throw SafetensorsError(description: "\(path): the header is not readable: \(error)")
        }
        payload = Array(bytes[(8 + Int(length))...])
        self.path = path
    }

    /// An array of int32, flat; nil when there is none of that name.
    func integers(_ name: String) throws(SafetensorsError) -> [Int32]? {
        guard let entry = entries[name] else { return nil }
        guard entry.dtype == "I32", let place = entry.data_offsets, place.count == 2, place[0] >= 0,
            place[0] <= place[1],
            place[1] <= payload.count, (place[1] - place[0]) % 4 == 0
        else { throw SafetensorsError(description: "\(path): \(name) is not an int32 array within the file") }
        return stride(from: place[0], to: place[1], by: 4).map { start in
            payload[start..<start + 4].reversed().reduce(Int32(0)) { $0 << 8 | Int32($1) }
        }
    }
}

/// Arrays to be written.
struct SafetensorsWriter {
    private var header: [String] = []
    private var payload: [UInt8] = []

    mutating func add(_ name: String, shape: [Int], _ values: [Float]) {
        add(name, "F32", shape, values.map(\.bitPattern))
    }

    mutating func add(_ name: String, shape: [Int], _ values: [Int32]) {
        add(name, "I32", shape, values.map { UInt32(bitPattern: $0) })
    }

    private mutating func add(_ name: String, _ type: String, _ shape: [Int], _ words: [UInt32]) {
        let start = payload.count
        payload.reserveCapacity(start + words.count * 4)
        for word in words {
            for shift in [0, 8, 16, 24] as [UInt32] { payload.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        let sizes = shape.map(String.init).joined(separator: ",")
        header.append(
            #""\#(name)":{"dtype":"\#(type)","shape":[\#(sizes)],"data_offsets":[\#(start),\#(payload.count)]}"#)
    }

    /// - Throws: what writing failed with.
    func write(to path: String) throws {
        var text = Array("{\(header.joined(separator: ","))}".utf8)
        // Arrays begin at a multiple of 8.
        text += Array(repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> ($0 * 8)) }
        try Data(length + text + payload).write(to: URL(filePath: path))
    }
}
