// The command line: what is wrong is refused before a byte is written, with the value in the message.
import ArgumentParser
import Glibc
import Kernels
import TestModel
import Testing

@Suite struct ArgumentTests {
    /// What the program says to wrong usage; nil when it accepts.
    private func complaint(_ arguments: [String]) -> String? {
        do {
            _ = try TestModelCommand.parse(arguments)
            return nil
        } catch {
            #expect(TestModelCommand.exitCode(for: error) == .validationFailure)
            return TestModelCommand.message(for: error)
        }
    }

    @Test(
        "Wrong arguments are refused with the value",
        arguments: [
            ["--preset", "tiny"], ["out.gguf"], ["out.gguf", "--preset", "huge"],
            ["out.gguf", "--preset", "tiny", "--quantize", "Q3_K"], ["out.gguf", "--preset", "tiny", "--layers", "0"],
            ["out.gguf", "--preset", "tiny", "--layers", "900"], ["out.gguf", "--preset", "tiny", "--skew=-1"],
            ["out.gguf", "--preset", "tiny", "--skew", "nan"], ["out.gguf", "--preset", "tiny", "--repeat", "1.5"],
            ["out.gguf", "--preset", "tiny", "--correlate", "2"], ["out.gguf", "--preset", "tiny", "--context", "0"],
            ["out.gguf", "--preset", "tiny", "--threads", "0"], ["out.gguf", "--preset", "tiny", "--seed=-1"],
        ])
    func wrong(_ arguments: [String]) throws {
        let said = try #require(complaint(arguments))
        if arguments.count > 3, let value = arguments.last?.split(separator: "=").last {
            #expect(said.lowercased().contains(value.lowercased()), "\(said)")
        }
    }

    @Test("Right ones are taken, formats in any case, and --list needs no file")
    func right() {
        #expect(complaint(["out.gguf", "--preset", "tiny", "--quantize", "q8_0", "--layers", "2"]) == nil)
        #expect(complaint(["out.gguf", "--preset", "qwen1.5-moe-a2.7b", "--skew", "1.4", "--seed", "9"]) == nil)
        #expect(complaint(["--list"]) == nil)
    }

    @Test("Ctrl-C ends it with 130 and leaves nothing behind")
    func interrupted() async {
        await #expect(processExitsWith: .exitCode(130)) {
            try withFolder { folder in
                let command = try TestModelCommand.parse(["\(folder)/m", "--preset", "medium", "--layers", "2"])
                // Again and again, as it counts only once the program listens.
                signal(SIGINT, SIG_IGN)
                var thread = pthread_t()
                pthread_create(
                    &thread, nil,
                    { _ in
                        while usleep(10_000) == 0 { kill(getpid(), SIGINT) }
                        return nil
                    }, nil)
                do {
                    try command.run()
                } catch let code as ExitCode {
                    guard try names(folder).isEmpty else { exit(3) }
                    // What leaves by `exit` runs no `defer`.
                    rmdir(folder)
                    exit(code.rawValue)
                }
            }
        }
    }

    @Test("The preset of Qwen1.5-MoE has 8.2 GB in Q4_0")
    func size() throws {
        let model = try TestModel(
            shape: Preset.qwen15MoEA27B.shape, mixture: Mixture(.q4_0), dial: RoutingDial(skew: 1.4), seed: 1)
        #expect(model.byteCount == 8_224_984_832)
    }
}
