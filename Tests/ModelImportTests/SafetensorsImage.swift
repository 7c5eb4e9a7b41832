// A safetensors file taken apart, changed and put together again.
import Foundation

struct SafetensorsImage {
    struct Tensor {
        var name: String
        var dtype: String
        var shape: [Int]
        var data: [UInt8]
    }

    var tensors: [Tensor] = []

    init(_ file: [UInt8]) throws {
        let length = file[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let parsed = try JSONSerialization.jsonObject(with: Data(file[8..<8 + length]))
        guard let header = parsed as? [String: Any] else { throw CocoaError(.coderReadCorrupt) }
        for (name, value) in header.sorted(by: { $0.key < $1.key }) where name != "__metadata__" {
            guard let info = value as? [String: Any], let dtype = info["dtype"] as? String,
                let shape = info["shape"] as? [Int], let range = info["data_offsets"] as? [Int]
            else { throw CocoaError(.coderReadCorrupt) }
            let data = Array(file[8 + length + range[0]..<8 + length + range[1]])
            tensors.append(Tensor(name: name, dtype: dtype, shape: shape, data: data))
        }
    }

    subscript(name: String) -> Tensor {
        get { tensors.first { $0.name == name } ?? Tensor(name: name, dtype: "F32", shape: [], data: []) }
        set {
            tensors.removeAll { $0.name == name }
            tensors.append(newValue)
        }
    }

    /// - Parameter header: changes the header before it is written down.
    func file(header change: (inout [String: Any]) -> Void = { _ in }) throws -> [UInt8] {
        var (header, data): ([String: Any], [UInt8]) = (["__metadata__": ["format": "pt"]], [])
        for tensor in tensors {
            header[tensor.name] = [
                "dtype": tensor.dtype, "shape": tensor.shape,
                "data_offsets": [data.count, data.count + tensor.data.count],
            ]
            data += tensor.data
        }
        change(&header)
        let json = Array(try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys]))
        return littleEndian(UInt64(json.count)) + json + data
    }
}

func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
}
