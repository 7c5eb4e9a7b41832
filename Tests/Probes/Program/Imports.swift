// The same attempts in the sandbox of an import: another order of steps and another policy.
import CLinux
import CProbe
import Glibc
import Sandbox
import Syscall

/// One isolated process per attempt; lines as `attempts` prints them.
func imports() throws {
    for name in (0..<probe_count()).map({ String(cString: probe_name($0)) }) + ["work"] {
        say("\(name) import \(try importer(asked: name))")
    }
}

/// What becomes of an import that is asked for one thing.
func importer(asked order: String) throws -> String {
    let program = Descriptor(owning: try check(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open this program"))
    let (ours, theirs) = try Seqpacket.pair()
    let process = try IsolatedProcess.start(
        executable: program.raw, arguments: ["locum-probe", "importer"], descriptors: [(theirs.raw, 3), (4, 4)])
    // What it reads and writes is handed in, as node does it.
    let file = try SharedMemory(name: "file", count: 4096).writable
    try Seqpacket.send(ours.raw, Array(order.utf8), descriptors: [file.raw])
    _ = consume theirs
    let answer = try? Seqpacket.receive(ours.raw).map { String(decoding: $0.bytes, as: UTF8.self) }
    return describe(answer, try process.wait())
}

/// The isolated side.
func importer() -> Never {
    do {
        try Sandbox.enterImport(channel: 3, filter: 4)
        guard let order = try Seqpacket.receive(3) else { _exit(2) }
        let name = String(decoding: order.bytes, as: UTF8.self)
        let answer =
            name == "work"
            ? work(order.descriptors[0].raw) : NumberedCall(name)?.make() ?? probe_run(probe_find(name))
        try Seqpacket.send(3, Array("\(answer)".utf8))
        _exit(0)
    } catch {
        try? Seqpacket.send(3, Array("failed: \(error)".utf8))
        _exit(1)
    }
}

/// What an import has to be able to do: 0, or the negative number of the step that failed.
private func work(_ file: Int32) -> Int {
    var bytes = Array("shard".utf8)
    guard write(file, bytes, bytes.count) == 5 else { return -1 }
    guard pread(file, &bytes, bytes.count, 0) == 5 else { return -2 }
    var information = stat()
    guard fstat(file, &information) == 0, information.st_size == 4096 else { return -3 }
    guard fdatasync(file) == 0 else { return -4 }
    // Space is node's to reserve.
    guard posix_fallocate(file, 0, 1 << 20) != 0, ftruncate(file, 1 << 20) != 0 else { return -6 }
    // Memory from malloc, small and large.
    let blocks = (0..<64).map { [UInt8](repeating: 7, count: 1 << ($0 % 24)) }
    return blocks.reduce(0) { $0 + Int($1.last ?? 0) } == 64 * 7 ? 0 : -5
}
