// `locum events`: what happens, a line each.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel

struct Events: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what happens: starts, evictions, crashes, deployments, tenants and keys.",
        discussion: """
            The latest ones since the daemon began, some thousand at most. With --json each line is an object; `number`
            counts them, so that a gap shows.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Flag(name: .shortAndLong, help: "Go on with what happens next, until interrupted.") var follow = false
    @Flag(help: "Print JSON, a line each.") var json = false

    func run() throws {
        try reporting {
            var partial: [UInt8] = []
            var last: Int?
            var failure: (any Error)?
            try daemon.client.stream("GET", "/admin/events" + (follow ? "?follow=true" : "")) { bytes in
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
                        let event = try JSONDecoder().decode(EventReport.self, from: Data(line))
                        if let last, event.number > last + 1 {
                            write(text: "(\(event.number - last - 1) were missed)\n")
                        }
                        last = event.number
                        write(text: Self.text(event))
                    }
                } catch {
                    failure = error
                }
                return failure == nil
            }
            if let failure { throw failure }
        }
    }

    private static func text(_ event: EventReport) -> String {
        let kind = event.kind.rawValue.replacing("_", with: " ")
        return "\(Human.date(event.time / 1000))  \(kind.padded(12))\(event.message)\n"
    }
}
