// From NIO's event loop to the command's thread: the parts of one HTTP answer through a blocking queue.
import Glibc
import NIOCore
import NIOHTTP1

enum AnswerPart: Sendable {
    case status(UInt)
    case bytes([UInt8])
    case end
    case broken(String)
}

/// Blocks its reader until a part is there.
final class AnswerQueue: @unchecked Sendable {
    // Both are used under `lock` only.
    private var parts: [AnswerPart] = []
    private var ended = false
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let arrived = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(lock, nil)
        pthread_cond_init(arrived, nil)
    }

    deinit {
        pthread_cond_destroy(arrived)
        pthread_mutex_destroy(lock)
        arrived.deallocate()
        lock.deallocate()
    }

    func add(_ part: AnswerPart) {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        guard !ended else { return }
        switch part {
        case .end, .broken: ended = true
        default: break
        }
        parts.append(part)
        pthread_cond_signal(arrived)
    }

    func next() -> AnswerPart {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while parts.isEmpty { pthread_cond_wait(arrived, lock) }
        return parts.removeFirst()
    }
}

final class AnswerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    private let queue: AnswerQueue

    init(queue: AnswerQueue) { self.queue = queue }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): queue.add(.status(head.status.code))
        case .body(let buffer): queue.add(.bytes(Array(buffer.readableBytesView)))
        case .end:
            queue.add(.end)
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { queue.add(.broken("it was closed")) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        queue.add(.broken("\(error)"))
        context.close(promise: nil)
    }
}
