// Configuration files say null for what they leave open: these read a value or null.

extension JSONReader {
    mutating func optionalInt() throws(ImportError) -> Int? { try null() ? nil : try int() }
    mutating func optionalDouble() throws(ImportError) -> Double? { try null() ? nil : try double() }
    mutating func optionalBool() throws(ImportError) -> Bool? { try null() ? nil : try bool() }
    mutating func optionalString() throws(ImportError) -> String? { try null() ? nil : try string() }

    /// One whole number, an array of them, or null (none).
    mutating func ints(most: Int) throws(ImportError) -> [Int] {
        switch try kind() {
        case .null:
            _ = try null()
            return []
        case .number:
            return [try int()]
        default:
            var values: [Int] = []
            try array { r throws(ImportError) in
                guard values.count < most else {
                    throw ImportError(.badConfig, "\(r.place): more than \(most) numbers in one list")
                }
                values.append(try r.int())
            }
            return values
        }
    }
}
