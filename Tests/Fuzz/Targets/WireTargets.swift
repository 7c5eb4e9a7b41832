// Every message that crosses a boundary, as the side that receives it reads it. A message has one byte form: what was
// read is written as the same bytes.
import NIOCore
import NIOEmbedded
import Wire

@testable import ControlPlane
@testable import Worker

extension FuzzTarget {
    /// Control and node: a command, an event, or the stream of events in pieces.
    static let nodeSession = FuzzTarget("node-session", longest: 4096) { bytes in
        let (kind, rest) = bytes.chosen
        switch kind % 3 {
        case 0: read(NodeCommand.self, rest)
        case 1: read(NodeEvent.self, rest)
        default: stream(rest)
        }
    }

    /// Callers and workers, and node.
    static let invokeChannel = FuzzTarget("invoke-channel", longest: 4096) { bytes in
        let (kind, rest) = bytes.chosen
        if kind % 2 == 0 { read(InvokeRequest.self, rest) } else { read(InvokeEvent.self, rest) }
    }

    /// The sandboxed import, and node.
    static let importChannel = FuzzTarget("import-channel", longest: 4096) { bytes in
        let (kind, rest) = bytes.chosen
        if kind % 2 == 0 { read(ImportCommand.self, rest) } else { read(ImportEvent.self, rest) }
    }

    /// Node and the zygote.
    static let zygoteChannel = FuzzTarget("zygote-channel", longest: 1024) { bytes in
        let (kind, rest) = bytes.chosen
        if kind % 2 == 0 { read(ZygoteCommand.self, rest) } else { read(ZygoteEvent.self, rest) }
    }

    /// A router and its callers: a command, an event, a frame of one, or parts of several.
    static let routerChannel = FuzzTarget("router-channel", longest: 4096) { bytes in
        let (kind, rest) = bytes.chosen
        switch kind % 4 {
        case 0: read(RouterCommand.self, rest)
        case 1: read(RouterEvent.self, rest)
        case 2: read(RouterFrame.self, rest)
        default: assemble(rest)
        }
    }

    private static func read<M: WireMessage>(_ type: M.Type, _ frame: [UInt8]) {
        guard let message = try? M(frame: frame) else { return }
        precondition(message.frame == frame, "\(message) is written as other bytes")
    }

    /// As NIO hands it over, in pieces of 7 bytes.
    private static func stream(_ bytes: [UInt8]) {
        let channel = EmbeddedChannel(handler: ByteToMessageHandler(NodeEventDecoder()))
        for start in stride(from: 0, to: bytes.count, by: 7) {
            let piece = ByteBuffer(bytes: bytes[start..<min(start + 7, bytes.count)])
            guard (try? channel.writeInbound(piece)) != nil else { break }
        }
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    /// Each pair of bytes is a frame: of which sequence, whether its last, and how long. So short inputs reach the caps.
    private static func assemble(_ bytes: [UInt8]) {
        let frames = stride(from: 0, to: min(bytes.count - 1, 256), by: 2).map { index in
            RouterFrame(
                sequence: UInt64(bytes[index] & 0x7F), last: bytes[index] & 0x80 != 0,
                part: [UInt8](repeating: bytes[index], count: Int(bytes[index + 1]) * 512))
        }
        var parts = CommandParts(context: 1)
        for frame in frames {
            guard let outcome = try? parts.add(frame) else { break }
            precondition(parts.heldBytes <= 2 * parts.mostBytes)
            if case .complete(let whole) = outcome { precondition(whole.count <= parts.mostBytes) }
        }
        var assembler = RouterAssembler(mostBytes: 1 << 20, mostSequences: 4)
        for frame in frames {
            do throws(WireError) {
                if let whole = try assembler.add(frame) { precondition(whole.count <= 1 << 20) }
            } catch {
                break
            }
        }
    }
}
