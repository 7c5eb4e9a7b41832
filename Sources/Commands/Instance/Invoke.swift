// `locum invoke`: calls one expert by hand, over the same road as a router: acquire, link, arena, doorbell.
import ArgumentParser
import CLinux
import ControlClient
import Glibc
import Link
import Syscall
import Wire

struct Invoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send rows to an expert function and print what it answers.",
        discussion: """
            Reads one row a line: as many numbers as the model's hidden size, separated by blanks or commas. With
            --raw rows are little-endian float32 in and out. Function names are those of `locum describe`.
            """)

    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Full name of an expert function, like tales-moe/L00-E003.") var function: String
    @Option(help: "Which of the function's experts, by its place in it.") var expert: UInt32 = 0
    @Flag(help: "Rows as little-endian float32 instead of text.") var raw = false

    struct Unusable: Error, CustomStringConvertible { let description: String }

    func run() throws {
        try reporting {
            let connection = try daemon.connect()
            guard let link = try connection.acquire(named: [function]).first, let arena = connection.requestArena else {
                throw Unusable(description: "node granted no link to \(function)")
            }
            guard link.grant.experts > 0 else {
                throw Unusable(description: "\(function) is a router; use `locum generate` for it")
            }
            let width = Int(link.grant.width)
            let rows = try raw ? binaryRows(width) : textRows(width)
            let output = try call(link, arena, rows: rows, width: width)
            print(output, width: width)
        }
    }

    private func call(_ link: Link, _ arena: Mapping, rows: [Float], width: Int) throws -> [Float] {
        guard expert < link.grant.experts else {
            throw Unusable(
                description: "\(function) has \(link.grant.experts) experts, --expert \(expert) is beyond them")
        }
        let count = rows.count / width
        let rowBytes = rows.count * 4
        let most = min(arena.count, link.replyRange(lane: 0).count) / 2
        let mostRows = min(ExpertCall.mostPairs, most / 4 / width)
        guard count <= mostRows else {
            throw Unusable(
                description: "\(count) rows are too many for one call; at most \(mostRows) fit. Send them in parts")
        }
        rows.withUnsafeBytes {
            arena.base.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(arena.base), byteCount: rowBytes)
        }
        let pairsAt = (rowBytes + 63) / 64 * 64
        let pairs = (arena.base + pairsAt).bindMemory(to: locum_pair.self, capacity: count)
        for row in 0..<count { pairs[row] = locum_pair(row: UInt32(row), expert: expert) }
        var message = locum_call()
        message.call = 1
        message.pairs_offset = UInt64(pairsAt)
        message.output_offset = UInt64(link.replyRange(lane: 0).lowerBound)
        message.row_count = UInt32(count)
        message.width = UInt32(width)
        message.pair_count = UInt32(count)
        guard ExpertCall.send(&message, on: link.lanes[0].raw) else {
            throw Unusable(description: "\(function) ended before it could be called; try again")
        }
        switch ExpertCall.receive(1, pairs: UInt32(count), on: link.lanes[0].raw) {
        case .answered:
            let start = (link.reply.base + Int(message.output_offset)).bindMemory(to: Float.self, capacity: rows.count)
            return Array(UnsafeBufferPointer(start: start, count: rows.count))
        case .gone, .leaving: throw Unusable(description: "\(function) ended during the call; try again")
        case .unreadable:
            throw Unusable(description: "\(function)'s shard cannot be read; `locum verify` says more")
        case .refused: throw Unusable(description: "\(function) refused the call")
        case .silent: throw Unusable(description: "\(function) did not answer")
        }
    }

    private func textRows(_ width: Int) throws -> [Float] {
        var rows: [Float] = []
        var number = 0
        while let line = readLine() {
            number += 1
            let words = line.split { $0 == " " || $0 == "," || $0 == "\t" }
            if words.isEmpty { continue }
            let values = words.compactMap { Float($0) }
            guard values.count == words.count else {
                throw Unusable(description: "line \(number) of standard input holds something that is no number")
            }
            guard values.count == width else {
                throw Unusable(
                    description:
                        "line \(number) of standard input has \(values.count) numbers, \(function) takes \(width)")
            }
            rows += values
        }
        guard !rows.isEmpty else {
            throw Unusable(description: "standard input holds no row; write \(width) numbers a line")
        }
        return rows
    }

    private func binaryRows(_ width: Int) throws -> [Float] {
        let bytes = StandardInput.readAllBytes()
        guard !bytes.isEmpty, bytes.count % (width * 4) == 0 else {
            throw Unusable(
                description: "standard input has \(bytes.count) bytes, not a multiple of a row's \(width * 4)")
        }
        return bytes.withUnsafeBytes { raw in
            (0..<bytes.count / 4).map { Float(bitPattern: raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self)) }
        }
    }

    private func print(_ output: [Float], width: Int) {
        if raw {
            output.withUnsafeBytes { write(bytes: Array($0)) }
            return
        }
        for row in stride(from: 0, to: output.count, by: width) {
            write(text: output[row..<row + width].map { "\($0)" }.joined(separator: " ") + "\n")
        }
    }
}
