// `locum-bench isolation`: what a process per expert costs a token.
import CLinux
import Link
import Worker

/// Reads functions from standard input, the router first: a name and its shard's file in each line. Decodes once so that
/// every expert is awake, then again, measured, and prints medians of a token in microseconds.
func isolation(socket: String, tokens: Int) throws {
    var functions: [DecodeComparison.Function] = []
    while let line = readLine() {
        let parts = line.split(separator: " ", maxSplits: 1)
        guard parts.count == 2 else { fail("not a name and a file: \(line)") }
        functions.append(DecodeComparison.Function(name: String(parts[0]), path: String(parts[1])))
    }
    var cpus = [Int32](repeating: 0, count: 1024)
    let count = locum_allowed_cpus(&cpus, Int32(cpus.count))
    let comparison = try DecodeComparison(
        socket: socket, functions, cpus: cpus.prefix(Int(max(1, count))).map { UInt32($0) }, positions: tokens)
    let turn = 8
    _ = try comparison.run(tokens: tokens, turn: turn)
    let figures = try comparison.run(tokens: tokens, turn: turn)
    func median(_ part: (DecodeComparison.Figures) -> UInt64, of side: [DecodeComparison.Figures]) -> Double {
        let sorted = side.map(part).sorted()
        return Double(sorted[sorted.count / 2]) / 1000
    }
    let (processes, alone) = (figures.map(\.processes), figures.map(\.alone))
    // Of neighbouring tokens, so that a slow moment of the machine is in both.
    let prices = figures.map { Double($0.processes.token) / Double($0.alone.token) }.sorted()
    func parts(_ side: [DecodeComparison.Figures]) -> String {
        "{\"token_us\": \(median(\.token, of: side)), \"planning_us\": \(median(\.planning, of: side)), "
            + "\"receiving_us\": \(median(\.receiving, of: side)), \"imbalance_us\": \(median(\.imbalance, of: side))}"
    }
    say(
        "{\"tokens\": \(figures.count), \"processes\": \(parts(processes)), \"one_process\": \(parts(alone)), "
            + "\"price\": \(prices[prices.count / 2]), "
            + "\"quartiles\": [\(prices[prices.count / 4]), \(prices[prices.count * 3 / 4])]}")
}
