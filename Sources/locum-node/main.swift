// locum-node: the privileged half of the service. Started by `locum up` (or systemd) with a data folder; it
// says nothing unless something is wrong. No Foundation, no Dispatch, no async: one thread, see EventLoop.
import Glibc
import NodeAgent
import Sandbox
import Syscall

/// What the command line asks for.
/// - Throws: `NodeAgentError` `usage`.
func options(_ arguments: [String]) throws(NodeAgentError) -> Node.Options {
    var options = Node.Options(data: "")
    var rest = arguments.dropFirst()[...]
    while let name = rest.popFirst() {
        guard let value = rest.popFirst() else {
            throw NodeAgentError(code: "usage", message: "\(name) needs a value")
        }
        switch name {
        case "--data": options.data = value
        case "--node-id": options.node = value
        case "--memory":
            guard let bytes = Int(value), bytes > 0 else {
                throw NodeAgentError(code: "usage", message: "--memory needs a number of bytes, not '\(value)'")
            }
            options.memory = bytes
        case "--prediction":
            guard let prediction = Prediction(rawValue: value) else {
                throw NodeAgentError(code: "usage", message: "--prediction is on, off or shuffled, not '\(value)'")
            }
            options.prediction = prediction
        case "--lifeline":
            guard let number = Int32(value), number > 2 else {
                throw NodeAgentError(code: "usage", message: "--lifeline needs a descriptor's number, not '\(value)'")
            }
            options.lifeline = number
        default: throw NodeAgentError(code: "usage", message: "\(name) is no option of locum-node")
        }
    }
    guard !options.data.isEmpty else {
        throw NodeAgentError(
            code: "usage",
            message:
                "usage: locum-node --data DIR [--memory BYTES] [--prediction on|off] [--lifeline FD] [--node-id NAME]\n"
                + "       locum-node --check")
    }
    return options
}

func say(_ text: String) {
    let line = Array("locum-node: \(text)\n".utf8)
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
    var options = try options(CommandLine.arguments)
    Process.keepSmall()
    Process.wakeQuickly()
    Process.raiseDescriptorLimit()
    let loop = try EventLoop()
    let launcher = try Launcher(programs: try Process.folderOfThisProgram())
    options.confinement = try Sandbox.enterNode()
    let node = try Node(options, loop: loop, launcher: launcher, log: say)
    try node.watchForEnd()
    try loop.run()
    if let failure = node.failure { throw failure }
} catch let error as NodeAgentError {
    say(error.message)
    exit(error.code == "usage" ? 64 : 1)
} catch {
    say("\(error)")
    exit(1)
}
