// Metadata values of a GGUF file. Arrays are kept only when they are asked for by name: an array of bytes
// would grow eightfold in memory, and most arrays are of no use here.

enum GGUFValue {
    case integer(Int)
    case float(Double)
    case bool(Bool)
    case string(String)
    case integers([Int])
    case floats([Float])
    case strings([String])
    /// An array that nobody asked for.
    case skipped(count: Int)

    var words: String {
        switch self {
        case .integer: "a whole number"
        case .float: "a number"
        case .bool: "true or false"
        case .string: "a string"
        case .integers, .floats, .strings, .skipped: "an array"
        }
    }

    /// - Parameter keep: whether an array's elements are wanted.
    init(_ cursor: inout GGUFCursor, key: String, keep: Bool) throws(ImportError) {
        let type = try cursor.integer(UInt32.self, "the type of \(key)")
        guard type == 9 else {
            self = try Self.scalar(type, &cursor, key)
            return
        }
        let element = try cursor.integer(UInt32.self, "the element type of \(key)")
        guard element != 9 else { throw cursor.bad("\(key) is an array of arrays") }
        let count = try cursor.count(most: GGUFCursor.longestArray, "elements of \(key)")
        var (strings, integers, floats): ([String], [Int], [Float]) = ([], [], [])
        for _ in 0..<count {
            switch try Self.scalar(element, &cursor, key) {
            case .string(let value) where keep: strings.append(value)
            case .integer(let value) where keep: integers.append(value)
            case .float(let value) where keep: floats.append(Float(value))
            default: break
            }
        }
        if keep, strings.count == count, element == 8 {
            self = .strings(strings)
        } else if keep, floats.count == count, count > 0 {
            self = .floats(floats)
        } else if keep, integers.count == count {
            self = .integers(integers)
        } else {
            self = .skipped(count: count)
        }
    }

    private static func scalar(_ type: UInt32, _ c: inout GGUFCursor, _ key: String) throws(ImportError) -> GGUFValue {
        switch type {
        case 0: return .integer(Int(try c.integer(UInt8.self, key)))
        case 1: return .integer(Int(Int8(bitPattern: try c.integer(UInt8.self, key))))
        case 2: return .integer(Int(try c.integer(UInt16.self, key)))
        case 3: return .integer(Int(Int16(bitPattern: try c.integer(UInt16.self, key))))
        case 4: return .integer(Int(try c.integer(UInt32.self, key)))
        case 5: return .integer(Int(Int32(bitPattern: try c.integer(UInt32.self, key))))
        case 6: return .float(Double(Float(bitPattern: try c.integer(UInt32.self, key))))
        case 7: return .bool(try c.bool(key))
        case 8: return .string(try c.string(key))
        case 10:
            guard let value = Int(exactly: try c.integer(UInt64.self, key)) else {
                throw c.bad("\(key) is larger than any number that makes sense")
            }
            return .integer(value)
        case 11: return .integer(Int(Int64(bitPattern: try c.integer(UInt64.self, key))))
        case 12: return .float(Double(bitPattern: try c.integer(UInt64.self, key)))
        default: throw c.bad("\(key) has the unknown value type \(type)")
        }
    }
}
