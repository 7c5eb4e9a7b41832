// The sandbox of an import: it can do its work on descriptors, and nothing else.
import CProbe
import Glibc
import Testing

@Suite("An import", .serialized)
struct ImportSandboxTests {
    @Test("works on the descriptors it got, and every attempt beyond fails", arguments: ProbeProcess.users)
    func walls(user: UInt32) throws {
        let probe = try ProbeProcess("import", as: user)
        let lines = probe.lines().map { $0.split(separator: " ", maxSplits: 2).map(String.init) }
        #expect(probe.end() == 0, "\(lines.last ?? [])")
        #expect(lines.count == Int(probe_count()) + 1)
        for line in lines where line.count == 3 {
            switch line[0] {
            case "work": #expect(line[2] == "succeeded 0")
            case "i386-getpid": #expect(line[2].hasPrefix("signal "))
            default: #expect(["signal \(SIGSYS)", "errno \(ENOSYS)"].contains(line[2]), "\(line)")
            }
        }
    }
}
