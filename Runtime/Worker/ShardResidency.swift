// A worker's side of where its shard is. Node reserves room in the memory budget before a page of it is read and
// wants the room back when others need it; the word through which both agree lies on the status page (CLinux.h
// draws it). Nothing here is needed for a right answer: a page that is not there faults in by itself. It is needed
// so that the budget holds, and so that a shard comes in by one large read instead of a thousand small ones.
//
// Whichever lane meets a granted shard reads it; the others sleep on the word. A call is counted as active before it
// looks, and one that finds the shard wanted back keeps it: so pages are dropped only when no lane uses them, by lane 0
// when node's message reaches it, and a call under way is never robbed of them.
import CLinux
import Glibc
import Shard
import Syscall
import Wire

/// The pages of one worker's shard.
final class ShardResidency: @unchecked Sendable {
    private let status: StatusPage
    private let shard: Mapping
    /// To node; a message is sent whole by whichever thread.
    private let channel: Int32
    private let isLocked: Bool
    /// Of the header alone, if that was read.
    private var headerBytes = 0
    /// 1: node was asked for room since the pages were dropped.
    private let asked = FutexWord()

    /// Pages that are not locked may have been taken by the kernel after that long without a call: they are then
    /// read again in one go instead of one by one. On pages that are there this costs 0.1 ms per MiB.
    private static let doubt: UInt64 = 5_000_000_000

    /// Locks the pages as they come, where this process may lock that much.
    init(_ shard: Mapping, status: StatusPage, channel: Int32) {
        (self.shard, self.status, self.channel) = (shard, status, channel)
        isLocked = locum_lock_on_fault(shard.base, shard.count) == 0
    }

    /// Returns when the shard's pages may be read, for a call that is counted as active.
    /// - Parameter begun: now, in nanoseconds of the monotonic clock.
    /// - Returns: how long that took in nanoseconds, 0 when they were there; nil when they cannot be read: the disk
    ///   failed, or the file is shorter than it was.
    func enter(at begun: UInt64) -> UInt64? {
        var waited = false
        while true {
            let state = status.shardState
            switch state {
            case LOCUM_SHARD_RESIDENT:
                if waited { return max(1, locum_monotonic_ns() &- begun) }
                guard !isLocked, begun > status.lastActive &+ Self.doubt else { return 0 }
                return populate() ? 0 : nil
            case LOCUM_SHARD_UNREADABLE: return nil
            case LOCUM_SHARD_GRANTED: settle()
            case LOCUM_SHARD_LEAVING:
                if status.moveShard(from: state, to: LOCUM_SHARD_RESIDENT) { tell(.kept) }
                continue
            case LOCUM_SHARD_ABSENT:
                if asked.exchange(1) == 0 { tell(.need) }
                status.waitForShard(while: state)
            default: status.waitForShard(while: state)
            }
            waited = true
        }
    }

    /// Does what the state asks for: reads what was granted, drops what node wants back. On lane 0 without a call, or
    /// (what was granted) on the lane whose call waits.
    func settle() {
        if status.moveShard(from: LOCUM_SHARD_GRANTED, to: LOCUM_SHARD_LOADING) {
            let begun = locum_monotonic_ns()
            let done = populate()
            let number = errno
            _ = status.moveShard(
                from: LOCUM_SHARD_LOADING, to: done ? LOCUM_SHARD_RESIDENT : LOCUM_SHARD_UNREADABLE)
            tell(done ? .loaded(nanoseconds: locum_monotonic_ns() - begun) : .unreadable(errno: number))
        } else if status.moveShard(from: LOCUM_SHARD_LEAVING, to: LOCUM_SHARD_DROPPING) {
            _ = locum_unmap_pages(shard.base, shard.count)
            // A lane that looked long ago may have asked since for what was there already: now asking counts again.
            asked.store(0)
            _ = status.moveShard(from: LOCUM_SHARD_DROPPING, to: LOCUM_SHARD_ABSENT)
            tell(.dropped)
        }
    }

    /// Reads the whole shard when there is room for it.
    /// - Throws: `ShardError` when it cannot be read.
    func enterAtStart() throws(ShardError) {
        locum_expect_large_pages(shard.base, shard.count)
        if enter(at: 0) == nil { throw unreadable() }
    }

    /// Reads the shard if that was granted before the start, else its header and nothing more.
    /// - Throws: `ShardError` when it cannot be read.
    func readHeader() throws(ShardError) {
        if status.shardState == LOCUM_SHARD_GRANTED {
            locum_expect_large_pages(shard.base, shard.count)
            settle()
            guard status.shardState != LOCUM_SHARD_UNREADABLE else { throw unreadable() }
            return
        }
        shard.expectRandomAccess(true)
        defer { shard.expectRandomAccess(false) }
        // The first page says how many there are.
        var known = 0
        while true {
            let bytes = UnsafeRawBufferPointer(start: shard.base, count: known)
            let needed = min(ShardView.headerBytes(of: bytes), shard.count)
            if needed <= known {
                headerBytes = known
                return
            }
            guard locum_populate(shard.base, needed) == 0 else { throw unreadable() }
            known = needed
        }
    }

    /// Once nothing of the header is needed any more: lets go of it, so that the whole shard is read in large pages later. What
    /// else of the file is in memory stays there.
    func letGoOfHeader(_ file: Descriptor) {
        guard status.shardState == LOCUM_SHARD_ABSENT else { return }
        _ = locum_unmap_pages(shard.base, shard.count)
        posix_fadvise(file.raw, 0, off_t(headerBytes), POSIX_FADV_DONTNEED)
        locum_expect_large_pages(shard.base, shard.count)
    }

    private func unreadable() -> ShardError {
        ShardError(.damaged, "its bytes cannot be read: the disk failed, or the file was cut off")
    }

    private func populate() -> Bool { locum_populate(shard.base, shard.count) == 0 }

    /// Fails only when node is gone, and then this process is about to be.
    private func tell(_ request: InvokeRequest) { try? Seqpacket.send(channel, request.frame) }
}
