// A development tool: feeds the prompts of a reference file through the real router and its real expert workers,
// and writes what Tests/Conformance/nano/compare.py reads.
import Glibc
import Syscall

/// Ends the program with a message.
func quit(_ code: Int32, _ message: String) -> Never {
    let line = Array("locum-eval: \(message)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
    exit(code)
}

let usage = "usage: locum-eval MODEL --ids FILE.safetensors --out FILE.safetensors [--data DIR]"

do {
    let options = try Options(CommandLine.arguments.dropFirst())
    let reference = try SafetensorsReader(path: options.ids)
    let evaluation = try Evaluation(model: options.model, socket: options.socket)
    var writer = SafetensorsWriter()
    var prompts = 0
    while let ids = try reference.integers("p\(prompts).ids") {
        let run = try evaluation.run(ids)
        run.write(to: &writer, prefix: "p\(prompts)")
        print(
            "p\(prompts): \(ids.count) tokens, \(run.layers) layers with experts, \(run.greedy.count) tokens generated")
        prompts += 1
    }
    guard prompts > 0 else { quit(1, "\(options.ids) holds no p0.ids; give a reference file with the prompts' ids") }
    try writer.write(to: options.out)
} catch let error as Options.Wrong {
    quit(64, "\(error.message)\n\(usage)")
} catch let error as EvaluationError {
    quit(error.exitCode, error.message)
} catch {
    quit(1, "\(error)")
}
