// locum-node: the privileged half of the service. Started by `locum up` or systemd with a data folder; it says nothing
// unless something is wrong. No Foundation, no Dispatch, no async: one thread, see EventLoop.
import Glibc
import NodeAgent
import Sandbox
import Settings
import Syscall
import Systemd
import Wire

func say(_ text: String, for requests: [RequestID] = []) {
    let fields = requests.map { (name: "LOCUM_REQUEST", value: $0.text) }
    let priority = requests.isEmpty ? Journal.Priority.notice : .info
    if Journal.isStandardError, Journal.send(text, priority, program: "locum-node", fields: fields) { return }
    // Who looks at a terminal wants to know what is wrong.
    if !requests.isEmpty, Journal.isTerminal { return }
    let about = requests.isEmpty ? "" : "request=\(requests.map(\.text).joined(separator: ",")) "
    let line = Array("locum-node: \(about)\(text)\n".utf8)
    _ = write(2, line, line.count)
}

/// Tells what `NodeCheck` finds, a line for each: name, tab, state.
func checkHost() throws {
    try NodeCheck.run(try Launcher(programs: try Process.folderOfThisProgram())) { name, state in
        print("\(name)\t\(state)")
    }
}

do {
    if CommandLine.arguments.dropFirst().elementsEqual(["--check"]) {
        try checkHost()
        exit(0)
    }
    let signals = try Node.takeSignals()
    let (options, source, given) = try Node.Options.read(CommandLine.arguments)
    var settings = given
    Process.keepSmall()
    Process.wakeQuickly()
    Process.raiseDescriptorLimit()
    let loop = try EventLoop()
    let launcher = try Launcher(programs: try Process.folderOfThisProgram())
    let node = try Node(options, loop: loop, launcher: launcher, log: { say($0, for: $1) })
    // After the control group was made: the topmost folder of groups is closed to its owner, too.
    node.confinement = try Sandbox.enterNode()
    node.onReload = {
        node.reload {
            let new = try source.read()
            let changes = settings.take(new, for: .node)
            return (settings.guesses, changes)
        }
    }
    try node.watchForEnd(signals)
    node.report(to: Notifier())
    try loop.run()
    if let failure = node.failure { throw failure }
} catch let error as NodeAgentError {
    say(error.message)
    exit(error.code == "usage" ? 64 : 1)
} catch {
    say("\(error)")
    exit(1)
}
