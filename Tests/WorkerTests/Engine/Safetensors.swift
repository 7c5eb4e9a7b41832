// The reference files, read as arrays. Only what they hold: float32 and int32.
import Foundation

struct ReferenceArrays {
    private struct Entry: Decodable {
        let dtype: String
        let shape: [Int]
        let data_offsets: [Int]
    }
    private struct Header: Decodable {
        var entries: [String: Entry] = [:]
        init(from decoder: any Decoder) throws {
            let names = try decoder.container(keyedBy: Name.self)
            for name in names.allKeys where name.stringValue != "__metadata__" {
                entries[name.stringValue] = try names.decode(Entry.self, forKey: name)
            }
        }
    }
    private struct Name: CodingKey {
        let stringValue: String
        let intValue: Int? = nil
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
    struct Missing: Error { let name: String }

    private let data: Data
    private let header: Header
    private let start: Int

    init(_ url: URL) throws {
        data = try Data(contentsOf: url)
        let length = data.prefix(8).enumerated().reduce(0) { $0 | Int($1.element) << ($1.offset * 8) }
        header = try JSONDecoder().decode(Header.self, from: data[8..<8 + length])
        start = 8 + length
    }

    func shape(_ name: String) throws -> [Int] {
        guard let entry = header.entries[name] else { throw Missing(name: name) }
        return entry.shape
    }

    private func values<T>(_ name: String, _ type: T.Type) throws -> [T] {
        guard let entry = header.entries[name] else { throw Missing(name: name) }
        let bytes = data[start + entry.data_offsets[0]..<start + entry.data_offsets[1]]
        return bytes.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count, by: 4).map { raw.loadUnaligned(fromByteOffset: $0, as: T.self) }
        }
    }

    func floats(_ name: String) throws -> [Float] { try values(name, Float.self) }
    func integers(_ name: String) throws -> [Int32] { try values(name, Int32.self) }
}
