// One deployment as the CLI sees it: descriptors out, progress in, at the end a result or a reason.
import ControlClient
import Glibc
import Syscall
import Wire

/// A deployment over a node's invoke.sock.
struct Deployment {
    private let socket: Descriptor
    private let progress = Progress()

    init(_ daemon: DaemonOptions) throws {
        let path = daemon.invokeSocket
        do { socket = try UnixSocket.connect(path, kind: .seqpacket) } catch { throw daemon.unreachable(path, error) }
    }

    /// Sends the files and waits for the end.
    /// - Returns: the JSON object that control wrote about the deployment; of a plan, the manifest.
    func run(_ options: DeployOptions, _ files: [SourceFile]) throws -> String {
        var planned: [UInt8] = []
        var rest = files[...]
        repeat {
            let part = rest.prefix(200)
            rest = rest.dropFirst(200)
            let message = InvokeRequest.deploy(options, files: part.map(\.name), more: !rest.isEmpty)
            do throws(SyscallError) {
                try Seqpacket.send(socket.raw, message.frame, descriptors: part.map(\.descriptor.raw))
            } catch {
                // Closed already: why is in what it said before.
                guard error.peerIsGone else { throw error }
            }
        } while !rest.isEmpty
        defer { progress.end() }
        while let packet = try Seqpacket.receive(socket.raw) {
            switch try InvokeEvent(frame: packet.bytes) {
            case .deploying(let stage, let done, let total): progress.show(stage, done, total)
            case .deployed(let json): return json
            case .planned(let part, let last):
                planned += part
                if last { return String(decoding: planned, as: UTF8.self) }
            case .failed(_, let code, let message):
                throw ControlError(kind: code == "not_found" ? .notFound : .failed, code: code, message: message)
            default: continue
            }
        }
        throw ControlError(
            kind: .failed, code: "broken",
            message: "locum-node ended during the deployment; nothing was changed. Try again.")
    }
}

/// A bar on a terminal, plain lines otherwise.
final class Progress {
    private let terminal = isatty(STDERR_FILENO) == 1
    private var shown = ""
    private var stage = ""
    private var tenth: UInt64 = 0

    func show(_ stage: String, _ done: UInt64, _ total: UInt64) {
        let share = total == 0 ? 0 : Double(min(done, total)) / Double(total)
        if terminal {
            let filled = Int(share * 30)
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 30 - filled)
            let line = "\r[\(bar)] \(Human.fixed(share * 100, 0)) %  \(stage)\u{1B}[K"
            if line != shown { write(text: line, to: STDERR_FILENO) }
            shown = line
        } else if stage != self.stage || UInt64(share * 10) > tenth {
            write(text: "\(stage): \(Human.fixed(share * 100, 0)) % of \(Human.bytes(total))\n", to: STDERR_FILENO)
            tenth = UInt64(share * 10)
        }
        if stage != self.stage { tenth = 0 }
        self.stage = stage
    }

    func end() {
        if terminal, !shown.isEmpty { write(text: "\r\u{1B}[K", to: STDERR_FILENO) }
    }
}
