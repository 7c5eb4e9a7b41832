// `locum repair`: the one command for daemons that do not run. It becomes locum-control, which alone knows the
// registry's form.
import ArgumentParser
import Glibc
import Syscall

struct Repair: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Save what can be read of a damaged registry; for a data folder whose Locum is down.",
        discussion: """
            Models that can be read whole and whose shards verify go into a new registry; the others are named, and
            have to be deployed again or restored from a backup. The damaged registry stays beside the new one. A
            registry that is sound is left as it is. Begin with a copy of the folder if you can.
            """)
    @OptionGroup var daemon: DaemonOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let program = Installation.folder + "/locum-control"
            let words = [program, "--data", daemon.folder, "--repair", json ? "json" : "text"]
            var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
            arguments.append(nil)
            execv(program, &arguments)
            throw SyscallError(stage: "start \(program)")
        }
    }
}
