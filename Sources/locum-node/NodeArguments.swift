// What `locum up` or a unit gives node. Not for people, so it is read strictly and without a library.
import NodeAgent
import Settings
import Systemd

extension Node.Options {
    private static let usage =
        "usage: locum-node --data DIR [--config FILE] [--SETTING VALUE ...] [--run DIR] [--control-user USER] "
        + "[--group GROUP] [--lifeline FD] [--node-id NAME]; locum-node --check; `locum config show` lists the settings"

    /// - Throws: `NodeAgentError` `usage`.
    static func read(
        _ words: [String]
    ) throws(NodeAgentError) -> (options: Node.Options, source: SettingsSource, settings: ServiceSettings) {
        do {
            return try parse(words)
        } catch let error as NodeAgentError {
            throw error
        } catch {
            throw NodeAgentError(code: "usage", message: "\(error)")
        }
    }

    private static func parse(
        _ words: [String]
    ) throws -> (options: Node.Options, source: SettingsSource, settings: ServiceSettings) {
        var options = Node.Options(data: "")
        var flags: [(name: String, value: String)] = []
        var rest = words.dropFirst()
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else {
                throw NodeAgentError(code: "usage", message: "\(name) needs a value")
            }
            flags.append((name, value))
        }
        var source = SettingsSource()
        for (name, value) in flags {
            switch name {
            case "--config": source.file = value
            case "--data": options.data = value
            case "--run": options.run = value
            case "--node-id": options.node = value
            case "--control-user": options.controlUser = try Account.user(value)
            case "--group": options.group = try Account.group(value)
            case _ where name.hasPrefix("--") && Setting.named(name.dropFirst(2)) != nil:
                source.flags.append((String(name.dropFirst(2)), value))
            case "--lifeline":
                guard let number = Int32(value), number > 2 else {
                    throw NodeAgentError(
                        code: "usage", message: "--lifeline needs a descriptor's number, not '\(value)'")
                }
                options.lifeline = number
            default: throw NodeAgentError(code: "usage", message: "\(name) is no option of locum-node")
            }
        }
        let settings = try source.read()
        guard !options.data.isEmpty else { throw NodeAgentError(code: "usage", message: usage) }
        options.memory = settings.memory
        options.prediction = settings.guesses
        options.sockets = try ListenDescriptors.take(["node": .unixStream, "invoke": .unixPackets])
        return (options, source, settings)
    }
}

extension ServiceSettings {
    /// What becomes of routers' guesses.
    var guesses: Prediction { Prediction(rawValue: prediction) ?? .on }
}
