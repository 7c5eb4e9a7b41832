// A table for people: columns as wide as their widest cell, numbers to the right.

/// Rows under headings.
struct Table {
    let headings: [String]
    /// Columns that hold numbers.
    var right: Set<Int> = []
    private var rows: [[String]] = []

    init(_ headings: [String], right: Set<Int> = []) {
        self.headings = headings
        self.right = right
    }

    mutating func add(_ row: [String]) { rows.append(row) }

    var text: String {
        let widths = headings.indices.map { column in
            ([headings] + rows).map { $0[column].count }.max() ?? 0
        }
        return ([headings] + rows).map { row in
            let cells = row.enumerated().map { column, cell in
                let pad = String(repeating: " ", count: widths[column] - cell.count)
                return right.contains(column) ? pad + cell : cell + pad
            }
            var line = cells.joined(separator: "  ")
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}

/// Amounts as a person reads them.
enum Human {
    /// The same of a report's number, which a daemon may have got wrong.
    static func bytes(_ count: Int) -> String { bytes(UInt64(max(0, count))) }

    /// `512 B`, `130.5 KiB`, `4.9 MiB`.
    static func bytes(_ count: UInt64) -> String {
        if count < 1024 { return "\(count) B" }
        var value = Double(count)
        for unit in ["KiB", "MiB", "GiB"] {
            value /= 1024
            if value < 1024 || unit == "GiB" { return "\(fixed(value, 1)) \(unit)" }
        }
        return "\(count) B"
    }

    static func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (value * scale).rounded()
        guard scaled.magnitude < 1e18 else { return "\(value)" }
        let whole = Int64(scaled)
        if digits == 0 { return "\(whole)" }
        let unit = Int64(scale)
        let fraction = String((whole % unit).magnitude)
        let sign = whole < 0 && whole / unit == 0 ? "-" : ""
        return "\(sign)\(whole / unit)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    static func count(_ value: UInt64) -> String {
        switch value {
        case 1_000_000_000...: "\(fixed(Double(value) / 1e9, 2)) B"
        case 1_000_000...: "\(fixed(Double(value) / 1e6, 1)) M"
        default: "\(value)"
        }
    }
}

extension String {
    /// Filled with blanks up to `width` characters.
    func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}
