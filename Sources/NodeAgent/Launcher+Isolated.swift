// The real launcher: both programs start in namespaces of their own (module Sandbox) with numbered descriptors
// and nothing else. The policies are compiled once; every process loads the same bytes.
import CLinux
import Glibc
import Policies
import Sandbox
import SeccompCompiler
import Syscall

extension Launcher {
    /// Starts the programs that lie in `folder`, isolated.
    /// - Throws: `PolicyError`, `SeccompError` or `SyscallError` when policies or programs cannot be had.
    public init(programs folder: String) throws {
        let expert = try SeccompPolicy(.expert).compile()
        let router = try SeccompPolicy(.router).compile()
        let importer = try SeccompPolicy(.importer).compile()
        let zygoteFile = try Self.program("\(folder)/locum-zygote")
        let importFile = try Self.program("\(folder)/locum-import")
        self.init(
            zygote: { channel in
                try Self.start(zygoteFile, "locum-zygote", [(channel, 3), (expert, 4), (router, 5)])
            },
            importer: { channel in
                try Self.start(importFile, "locum-import", [(channel, 3), (importer, 4)])
            })
    }

    private static func program(_ path: String) throws(SyscallError) -> Descriptor {
        Descriptor(owning: try check(open(path, 0o10000000 /* O_PATH */ | O_CLOEXEC), "open the program \(path)"))
    }

    private static func start(
        _ program: Descriptor, _ name: String, _ descriptors: [(from: Descriptor, to: Int32)]
    ) throws(SyscallError) -> StartedProcess {
        // What it has to say before its channel works goes where node's own words go.
        let numbers: [(from: Int32, to: Int32)] = descriptors.map { ($0.from.raw, $0.to) } + [(2, 2)]
        var environment = IsolatedProcess.environment
        if let path = getenv("LOCUM_ISA") { environment.append("LOCUM_ISA=\(String(cString: path))") }
        let process = try withExtendedLifetime(descriptors) { () throws(SyscallError) in
            try IsolatedProcess.start(
                executable: program.raw, arguments: [name], environment: environment, descriptors: numbers)
        }
        return StartedProcess(pid: process.pid, pidfd: process.pidfd)
    }
}
