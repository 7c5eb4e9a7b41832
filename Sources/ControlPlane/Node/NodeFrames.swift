// Frames on the stream to node: four bytes of length, little endian, then the message.
import NIOCore
import Wire

/// Cuts the stream into frames and reads them as events.
struct NodeEventDecoder: ByteToMessageDecoder {
    typealias InboundOut = NodeEvent
    /// The longest that node sends is the manifest of a model with very many functions.
    static let longest = 64 << 20

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let length = buffer.getInteger(at: buffer.readerIndex, endianness: .little, as: UInt32.self) else {
            return .needMoreData
        }
        guard length <= Self.longest else {
            throw WireError(reason: "a frame of \(length) bytes from node; the longest is \(Self.longest)", offset: 0)
        }
        guard buffer.readableBytes >= 4 + Int(length) else { return .needMoreData }
        buffer.moveReaderIndex(forwardBy: 4)
        let bytes = buffer.readBytes(length: Int(length)) ?? []
        context.fireChannelRead(wrapInboundOut(try NodeEvent(frame: bytes)))
        return .continue
    }

    mutating func decodeLast(
        context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool
    ) throws -> DecodingState {
        while try decode(context: context, buffer: &buffer) == .continue {}
        return .needMoreData
    }
}

/// Commands as one run of bytes.
enum NodeFrames {
    static func bytes(_ commands: [NodeCommand]) -> ByteBuffer {
        var buffer = ByteBuffer()
        for command in commands {
            let frame = command.frame
            buffer.writeInteger(UInt32(frame.count), endianness: .little)
            buffer.writeBytes(frame)
        }
        return buffer
    }
}

/// Hands events to a stream, in order, until the connection ends.
final class NodeEventHandler: ChannelInboundHandler {
    typealias InboundIn = NodeEvent
    private let events: AsyncThrowingStream<NodeEvent, any Error>.Continuation

    init(events: AsyncThrowingStream<NodeEvent, any Error>.Continuation) { self.events = events }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { events.yield(unwrapInboundIn(data)) }
    func channelInactive(context: ChannelHandlerContext) { events.finish() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        events.finish(throwing: error)
        context.close(promise: nil)
    }
}
