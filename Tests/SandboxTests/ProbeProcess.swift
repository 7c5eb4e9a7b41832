// Starts the probe program that lies beside the test bundle, as a given user, and talks to it by lines.
import CProbe
import Foundation
import Policies
import Sandbox
import SeccompCompiler
import Syscall

/// A run of locum-probe.
final class ProbeProcess {
    private let pid: pid_t
    private var input: Descriptor?
    private let output: Descriptor
    private var buffer: [UInt8] = []

    /// Users that the sandbox is tried for: this one, and as root also an ordinary one.
    static var users: [UInt32] { geteuid() == 0 ? [0, 65534] : [geteuid()] }

    init(_ mode: String, as user: UInt32) throws {
        let path = ProbeProcess.folder + "/locum-probe"
        let program = Descriptor(owning: try check(open(path, O_RDONLY | O_CLOEXEC), "open \(path)"))
        // Pages of a file just built count as private memory of whoever maps them until they are on disk.
        fsync(program.raw)
        let first: SeccompPolicy.Name = mode.hasPrefix("import") ? .importer : .expert
        let (expert, router) = (try SeccompPolicy(first).compile(), try SeccompPolicy(.router).compile())
        var ends: (Int32, Int32) = (-1, -1)
        pid = try check(
            probe_launch(program.raw, user, mode, expert.raw, router.raw, &ends.0, &ends.1), "start \(path)")
        (input, output) = (Descriptor(owning: ends.0), Descriptor(owning: ends.1))
    }

    /// Where SwiftPM puts programs beside the test bundle; the runner itself may be a tool of the toolchain.
    private static var folder: String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") }
        let file = bundle ?? (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: file).deletingLastPathComponent().path
    }

    /// The next line; nil when the program closed its output.
    func line() -> String? {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                defer { buffer.removeFirst(end + 1) }
                return String(decoding: buffer[..<end], as: UTF8.self)
            }
            var part = [UInt8](repeating: 0, count: 4096)
            let got = read(output.raw, &part, part.count)
            guard got > 0 else { return nil }
            buffer += part[..<got]
        }
    }

    func lines() -> [String] {
        var all: [String] = []
        while let line = line() { all.append(line) }
        return all
    }

    /// Ends its standard input: the program goes on.
    func proceed() { input = nil }

    /// Its exit code, or nil when a signal ended it.
    func end() -> Int32? {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status & 0x7f == 0 ? status >> 8 & 0xff : nil
    }
}
