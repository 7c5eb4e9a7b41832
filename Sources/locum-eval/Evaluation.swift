// One prompt through a real router: logits and gates of every position of the prompt, then 48 greedy tokens.
import Glibc
import Link
import Syscall
import Wire

/// Why an evaluation ended, with the program's exit code.
struct EvaluationError: Error {
    let exitCode: Int32
    let message: String
}

/// A router to ask.
final class Evaluation {
    private let connection: InvokeConnection
    private let link: Link
    private var sequence: UInt64 = 0

    private static let generated: UInt32 = 48

    init(model: String, socket: String) throws(EvaluationError) {
        do throws(SyscallError) {
            connection = try InvokeConnection(path: socket)
        } catch {
            throw EvaluationError(exitCode: 4, message: "\(error); is `locum up` running there?")
        }
        do throws(InvokeError) {
            link = try connection.acquire(named: ["\(model)/router"])[0]
        } catch {
            throw EvaluationError(exitCode: error.code == "not_found" ? 3 : 1, message: "\(error)")
        }
    }

    /// Runs one prompt to its end.
    func run(_ ids: [Int32]) throws(EvaluationError) -> PromptRun {
        sequence += 1
        let spec = GenerateSpec(
            prompt: .tokens(ids), sampling: SamplingSpec(temperature: 0, repetitionPenalty: 1),
            maxTokens: Self.generated,
            ignoresEnd: true, trace: true)
        do {
            for frame in RouterFrame.cut(RouterCommand.generate(spec), sequence: sequence) {
                try Seqpacket.send(link.lanes[0].raw, frame.frame)
            }
            return try collect(ids.count)
        } catch let error as EvaluationError {
            throw error
        } catch {
            throw EvaluationError(exitCode: 1, message: "the link to the router failed: \(error)")
        }
    }

    private func collect(_ positions: Int) throws -> PromptRun {
        var assembler = RouterAssembler()
        var run = PromptRun(positions: positions)
        while let packet = try Seqpacket.receive(link.lanes[0].raw) {
            let frame = try RouterFrame(frame: packet.bytes)
            guard frame.sequence == sequence, let whole = try assembler.add(frame) else { continue }
            switch try RouterEvent(frame: whole) {
            case .started, .promptScores, .firstToken, .routes, .used: break
            case .trace(let position, let logits, let router, let experts, let weights):
                guard Int(position) == run.traced else {
                    throw EvaluationError(exitCode: 1, message: "the router left out position \(run.traced)")
                }
                run.add(logits: logits, router: router, experts: experts, weights: weights)
            case .token(_, let id, _, _): run.greedy.append(id)
            case .finished:
                guard run.traced == positions else {
                    throw EvaluationError(exitCode: 1, message: "\(run.traced) of \(positions) positions were traced")
                }
                return run
            case .failed(let code, _, let message):
                throw EvaluationError(exitCode: 1, message: "the router refused the prompt: \(message) (\(code))")
            }
        }
        throw EvaluationError(exitCode: 1, message: "the router ended before the prompt's end; run again")
    }
}
