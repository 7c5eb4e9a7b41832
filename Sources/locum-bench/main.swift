// A development tool: measures invocation from the caller's side and prints JSON. Not installed.
//
//     locum-bench call FUNCTION [--count N]      warm calls of one row, beside bare seqpacket round trips
//     locum-bench hold FUNCTION…                 acquires the functions (names from standard input with -), calls
//                                                each once, prints the times, holds them until standard input ends
//     locum-bench isolation TOKENS               what a process per expert costs a token; see Isolation.swift
import CLinux
import Glibc
import Link
import Syscall
import Wire

func fail(_ text: String) -> Never {
    let line = Array("locum-bench: \(text)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(1)
}

/// A line at once, without buffering.
func say(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = write(STDOUT_FILENO, line, line.count)
}

/// Minimum, median, 99th percentile in microseconds.
func summary(_ nanoseconds: [UInt64]) -> String {
    let sorted = nanoseconds.sorted()
    func at(_ share: Double) -> Double {
        Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1000
    }
    return "{\"count\": \(sorted.count), \"min_us\": \(at(0)), \"p50_us\": \(at(0.5)), \"p99_us\": \(at(0.99))}"
}

/// One row of zeros to the function's first expert over lane 0; the time from doorbell to answer.
func call(_ link: Link, number: UInt64) -> UInt64 {
    var message = locum_call()
    message.call = number
    message.rows_offset = 4096
    message.output_offset = UInt64(link.replyRange(lane: 0).lowerBound)
    message.row_count = 1
    message.width = link.grant.width
    message.pair_count = 1
    let start = locum_monotonic_ns()
    guard ExpertCall.send(&message, on: link.lanes[0].raw) else { fail("the instance is gone") }
    guard case .answered = ExpertCall.receive(number, pairs: 1, on: link.lanes[0].raw) else { fail("no answer") }
    return locum_monotonic_ns() - start
}

/// Round trips of 64 and 32 bytes between two processes pinned to the same core: what any call over a socket costs.
func bareRoundTrips(_ count: Int) -> [UInt64] {
    var ends: [Int32] = [-1, -1]
    guard locum_seqpacket_pair(&ends) == 0 else { fail("no socket pair") }
    let child = locum_clone3(0, nil)
    var buffer = [UInt8](repeating: 0, count: 64)
    if child == 0 {
        close(ends[0])
        while recv(ends[1], &buffer, 64, 0) > 0 { _ = send(ends[1], buffer, 32, 0) }
        _exit(0)
    }
    close(ends[1])
    let times = (0..<count).map { _ -> UInt64 in
        let start = locum_monotonic_ns()
        _ = send(ends[0], buffer, 64, 0)
        _ = recv(ends[0], &buffer, 64, 0)
        return locum_monotonic_ns() - start
    }
    close(ends[0])
    waitpid(child, nil, 0)
    return times
}

var arguments = Array(CommandLine.arguments.dropFirst())
guard let data = getenv("LOCUM_DATA").map({ String(cString: $0) }), arguments.count >= 2 else {
    fail("usage: LOCUM_DATA=DIR locum-bench call FUNCTION [--count N] | hold FUNCTION…|- | isolation TOKENS")
}
let verb = arguments.removeFirst()
do {
    let socket = data + "/run/invoke.sock"
    let connection = try InvokeConnection(path: socket)
    switch verb {
    case "call":
        let count = arguments.count == 3 ? Int(arguments[2]) ?? 20_000 : 20_000
        guard let link = try connection.acquire(named: [arguments[0]]).first else { fail("no link") }
        // Lane 0 of a worker is pinned to the first CPU; called from there, the core is handed over in place.
        var cpu: Int32 = 0
        _ = locum_allowed_cpus(&cpu, 1)
        _ = locum_pin_to_cpu(cpu)
        for number in 0..<1000 { _ = call(link, number: UInt64(number)) }
        // In turns, so that both see the same machine.
        var (calls, bare): ([UInt64], [UInt64]) = ([], [])
        for round in 0..<10 {
            bare += bareRoundTrips(count / 10)
            calls += (0..<count / 10).map { call(link, number: UInt64(10_000 + round * count + $0)) }
        }
        say("{\"call\": \(summary(calls)), \"bare\": \(summary(bare))}")
    case "hold":
        var names = arguments
        if names == ["-"] { names = (readLine() ?? "").split(separator: " ").map(String.init) }
        let start = locum_monotonic_ns()
        let links = try connection.acquire(named: names)
        let acquired = locum_monotonic_ns()
        let times = links.enumerated().map { call($1, number: UInt64($0)) }
        say(
            "{\"functions\": \(links.count), \"acquire_us\": \((acquired - start) / 1000), \"first_call\": \(summary(times))}"
        )
        while readLine() != nil {}
    case "isolation": try isolation(socket: socket, tokens: Int(arguments[0]) ?? 64)
    default: fail("unknown verb \(verb)")
    }
} catch { fail("\(error)") }
