// Lines of JSON as they come from control, whole, each told apart from those that were missed.
import ControlClient
import FoundationEssentials
import FunctionModel

enum FeedReader {
    /// Writes each line as it is, or in words.
    /// - Parameters:
    ///   - query: what of it is wanted, and whether to go on.
    ///   - text: an element in words, and its number.
    static func print<T: Decodable>(
        _ path: String, _ query: [(String, String)], _ daemon: DaemonOptions, json: Bool,
        text: (T) -> (text: String, number: Int), gaps: Bool
    ) throws {
        var partial: [UInt8] = []
        var last: Int?
        var failure: (any Error)?
        let list = query.map { "\($0)=\(Path.component($1))" }.joined(separator: "&")
        try daemon.client.stream("GET", path + (list.isEmpty ? "" : "?" + list)) { bytes in
            partial += bytes
            guard let end = partial.lastIndex(of: UInt8(ascii: "\n")) else { return true }
            let lines = Array(partial[...end])
            partial.removeSubrange(...end)
            if json {
                write(bytes: lines)
                return true
            }
            do {
                for line in lines.split(separator: UInt8(ascii: "\n")) {
                    let (words, number) = text(try JSONDecoder().decode(T.self, from: Data(line)))
                    if gaps, let last, number > last + 1 { write(text: "(\(number - last - 1) were missed)\n") }
                    last = number
                    write(text: words + "\n")
                }
            } catch {
                failure = error
            }
            return failure == nil
        }
        if let failure { throw failure }
    }
}
