// What is deployed: list, describe, rm.
import ArgumentParser
import ControlClient
import FoundationEssentials
import FunctionModel
import Link

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List deployed models.", aliases: ["ls"])
    @OptionGroup var daemon: DaemonOptions
    @Flag(help: "Print JSON.") var json = false

    func run() throws {
        try reporting {
            let answer = try daemon.client.request("GET", "/admin/models")
            if json { return write(bytes: Array(answer)) }
            var table = Table(
                ["NAME", "REVISION", "ARCHITECTURE", "PARAMETERS", "QUANTIZATION", "SIZE", "FUNCTIONS", "LIVE"],
                right: [1, 3, 5, 6, 7])
            for model in try JSONDecoder().decode([ModelSummary].self, from: answer) {
                table.add([
                    model.name, "\(model.revision)", model.architecture, Human.count(UInt64(max(0, model.parameters))),
                    model.quantization, Human.bytes(model.bytes), "\(model.functions)",
                    "\(model.instances)",
                ])
            }
            write(text: table.text)
        }
    }
}

struct Describe: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a model and its functions.")
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Name of a deployed model.") var model: String
    @Flag(help: "Print JSON.") var json = false

    func validate() throws { try Name.check(model) }

    func run() throws {
        try reporting {
            let answer = try daemon.client.request("GET", "/admin/models/" + Path.component(model))
            if json { return write(bytes: Array(answer)) }
            let it = try JSONDecoder().decode(ModelDescription.self, from: answer)
            let facts: [(String, String)] = [
                ("name", it.name), ("owner", it.owner.map { "tenant \($0)" } ?? "the operator"),
                ("used by", it.users.isEmpty ? "the operator" : "the operator, " + it.users.joined(separator: ", ")),
                ("revision", "\(it.revision)"), ("architecture", it.architecture),
                ("parameters", Human.count(UInt64(max(0, it.parameters)))),
                ("size", Human.bytes(it.bytes)),
                ("quantization", it.quantization), ("source", it.sourceFormat), ("context", "\(it.context) tokens"),
                ("kv cache", it.kvType), ("layers", "\(it.layers)"), ("hidden size", "\(it.hidden)"),
                ("experts", "\(it.experts) per layer, \(it.expertsPerToken) per token"),
                ("vocabulary", "\(it.vocabulary)"), ("chat template", it.hasChatTemplate ? "yes" : "no"),
            ]
            for (name, value) in facts { fact(name, value) }
            if let first = it.firstToken {
                func milliseconds(_ value: Double) -> String { "\(Human.fixed(value, 1)) ms" }
                fact(
                    "first token",
                    "\(milliseconds(first.total)): \(milliseconds(first.queue)) waiting, \(milliseconds(first.spawn)) spawning, "
                        + "\(milliseconds(first.map)) mapping, \(milliseconds(first.read)) reading, "
                        + "\(milliseconds(first.compute)) computing")
            }
            if let guesses = it.prediction {
                fact(
                    "prediction",
                    "\(guesses.isOn ? "on" : "off, does not pay"): \(guesses.used) used, \(guesses.late) late, "
                        + "\(guesses.wasted) wasted (\(Human.bytes(guesses.bytesWasted))), "
                        + "\(Human.fixed(guesses.secondsSaved, 2)) s saved, \(Human.fixed(guesses.secondsLost, 2)) s lost"
                )
            }
            var table = Table(["FUNCTION", "RUNTIME", "EXPERTS", "SIZE", "STATE", "DIGEST"], right: [2, 3])
            for function in it.functions {
                table.add([
                    function.name, function.runtime.rawValue, "\(function.experts)",
                    Human.bytes(function.bytes), function.state, String(function.digest.prefix(12)),
                ])
            }
            write(text: "\n" + table.text)
        }
    }

    private func fact(_ name: String, _ value: String) {
        write(text: name + String(repeating: " ", count: max(1, 15 - name.count)) + value + "\n")
    }
}

struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove a model, its processes and the shards that no other model uses.",
        discussion: "A tenant's user removes models of its own.")
    @OptionGroup var daemon: DaemonOptions
    @Argument(help: "Name of a deployed model.") var model: String
    @Flag(help: "Print JSON.") var json = false

    func validate() throws { try Name.check(model) }

    func run() throws {
        try reporting {
            if daemon.isTenants {
                try daemon.connect().remove(model)
                return write(text: json ? "{}\n" : "removed \(model)\n")
            }
            let answer = try daemon.client.request("DELETE", "/admin/models/" + Path.component(model))
            write(bytes: json ? Array(answer) : Array("removed \(model)\n".utf8))
        }
    }
}

/// A name on the command line.
enum Name {
    /// A script's empty variable means nothing, and nothing is no name.
    /// - Throws: `ValidationError`, which ends with 64.
    static func check(_ text: String) throws {
        guard !text.isEmpty else { throw ValidationError("a name is needed; this one is empty.") }
    }
}

/// A name as a part of a URL's path.
enum Path {
    static func component(_ text: String) -> String {
        text.utf8.map { byte in
            let plain =
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                || [45, 46, 95, 126].contains(byte)
            return plain ? String(UnicodeScalar(byte)) : "%" + Hexadecimal.text([byte]).uppercased()
        }.joined()
    }
}
