// The stream from node, in pieces as the kernel likes to hand it over, and lying.
import NIOCore
import NIOEmbedded
import SeededRandom
import Testing
import Wire

@testable import ControlPlane

@Suite struct NodeFrameTests {
    private func frames(_ events: [NodeEvent]) -> [UInt8] {
        events.flatMap { event in
            let frame = event.frame
            return withUnsafeBytes(of: UInt32(frame.count).littleEndian) { Array($0) } + frame
        }
    }

    @Test("Events come whole and in order, however the stream is cut")
    func pieces() throws {
        let events = (0..<50).map {
            NodeEvent.verified(
                request: $0, $0 % 2 == 0 ? .intact : .older, message: String(repeating: "x", count: Int($0) * 7))
        }
        let bytes = frames(events)
        var random = SplitMix64(1)
        for _ in 0..<20 {
            let channel = EmbeddedChannel(handler: ByteToMessageHandler(NodeEventDecoder()))
            var rest = bytes[...]
            var read: [NodeEvent] = []
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 1...64, using: &random))
                rest = rest.dropFirst(piece.count)
                try channel.writeInbound(ByteBuffer(bytes: piece))
                while let event = try channel.readInbound(as: NodeEvent.self) { read.append(event) }
            }
            #expect(read == events)
        }
    }

    @Test("A frame that is too long, or no event, ends the session instead of growing it")
    func lies() throws {
        for bytes: [UInt8] in [[0xFF, 0xFF, 0xFF, 0xFF], [2, 0, 0, 0, 1, 200], [1, 0, 0, 0, 9], [0, 0, 0, 0]] {
            let channel = EmbeddedChannel(handler: ByteToMessageHandler(NodeEventDecoder()))
            #expect(throws: WireError.self) { try channel.writeInbound(ByteBuffer(bytes: bytes)) }
        }
    }

    @Test("Commands are written so that node can read them")
    func commands() throws {
        let commands: [NodeCommand] = [.report(request: 7), .retain(digests: [[1, 2]], last: true)]
        var buffer = NodeFrames.bytes(commands)
        for command in commands {
            let number = buffer.readInteger(endianness: .little, as: UInt32.self)
            let length = try #require(number)
            let read = try NodeCommand(frame: buffer.readBytes(length: Int(length)) ?? [])
            #expect(read == command)
        }
        #expect(buffer.readableBytes == 0)
    }
}
