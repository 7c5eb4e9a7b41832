// Shards by way of node: each question goes over the channel and waits for its answer. Progress is a hint:
// it is sent ten times a second at most and dropped when node does not keep up.
import Glibc
import Syscall
import Wire

final class ChannelSink: ShardSink {
    private let channel: Int32
    private var file: Descriptor?
    private var told: ContinuousClock.Instant?

    init(channel: Int32) { self.channel = channel }

    func has(index: Int, digest: [UInt8]) throws(ImportError) -> Bool {
        try send(.has(index: UInt32(index), digest: digest))
        guard case (.has(let answer), _) = try answer() else { throw Self.confused }
        return answer
    }

    func create(index: Int, length: Int) throws(ImportError) -> Int32 {
        try send(.create(index: UInt32(index), length: UInt64(length)))
        let (command, descriptors) = try answer()
        guard case .created = command, let file = descriptors.first else { throw Self.confused }
        self.file = file
        return file.raw
    }

    func finish(index: Int, digest: [UInt8], length: Int) throws(ImportError) {
        // Written to disk here, where nobody waits: node, which serves others meanwhile, then finds it done. It
        // syncs again and sees a failure there.
        if let file { fdatasync(file.raw) }
        file = nil
        try send(.finish(index: UInt32(index), digest: digest, length: UInt64(length)))
        guard case (.finished, _) = try answer() else { throw Self.confused }
    }

    func progress(_ done: UInt64, _ total: UInt64, _ stage: String) {
        let now = ContinuousClock.now
        if let told, done < total, now - told < .milliseconds(100) { return }
        told = now
        try? Seqpacket.send(channel, ImportEvent.progress(stage: stage, done: done, total: total).frame, wait: false)
    }

    func send(_ event: ImportEvent) throws(ImportError) {
        do throws(SyscallError) {
            try Seqpacket.send(channel, event.frame)
        } catch {
            throw ImportError(.refused, "the node went away: \(error)")
        }
    }

    /// The next command from node.
    func answer() throws(ImportError) -> (ImportCommand, [Descriptor]) {
        let packet: Packet?
        do throws(SyscallError) {
            packet = try Seqpacket.receive(channel)
        } catch {
            throw ImportError(.refused, "the node went away: \(error)")
        }
        guard let packet else { throw ImportError(.refused, "the node went away") }
        let command: ImportCommand
        do throws(WireError) {
            command = try ImportCommand(frame: packet.bytes)
        } catch {
            throw ImportError(.refused, "the node sent something malformed: \(error)")
        }
        if case .refused(let code, let message) = command { throw ImportError(code: code, message: message) }
        return (command, packet.descriptors)
    }

    private static let confused = ImportError(.refused, "the node answered something else than was asked")
}
