// An expert's whole life, played once in the zygote before it forks. Swift makes generic metadata, protocol
// tables and lazy globals at their first use, libc its buffers: about 50 KiB of pages that every worker would
// otherwise make and keep for itself. What was made before the fork is shared by all.
import CLinux
import Glibc
import Kernels
import Link
import Shard
import Syscall
import Wire

extension Worker {
    /// Serves one call of a tiny expert on the calling thread and leaves nothing behind but warm pages.
    /// - Throws: what setting the stage throws; the play itself may end as it likes.
    static func rehearse() throws {
        let side = 16
        let matrices = [ShardRole.expertGate, .expertUp, .expertDown]
        let plan = try ShardPlan(
            kind: .expert(hidden: side, intermediate: side, count: 1),
            contents: matrices.map { ShardContent($0, format: .f32, rows: side, cols: side) })
        let shard = try SharedMemory(name: "rehearsal-shard", count: plan.length)
        let header = plan.header
        try check(pwrite(shard.writable.raw, header, header.count, 0), "write the rehearsal's shard")
        let page = try SharedMemory(name: "rehearsal-status", count: 4096)
        let status = try Mapping(page.writable.raw, count: 4096, writable: true)
        _ = locum_shard_move(
            status.base.assumingMemoryBound(to: locum_status_page.self), LOCUM_SHARD_ABSENT, LOCUM_SHARD_RESIDENT)
        let arena = try SharedMemory(name: "rehearsal-arena", count: 1 << 16)
        let (node, channel) = try Seqpacket.pair()
        let (caller, lane) = try Seqpacket.pair()

        // All that is ever said to it lies ready in its sockets: a link, a call on it, and while that waits a
        // message without meaning (so that the call comes before the end), then the end of file.
        let offer = LinkOffer(link: 1, lanes: 1, requestArena: UInt64(arena.count), replyArena: UInt64(arena.count))
        try Seqpacket.send(
            node.raw, InvokeEvent.accept([offer]).frame,
            descriptors: [lane.raw, arena.readable.raw, arena.writable.raw])
        var call = locum_call()
        (call.call, call.rows_offset, call.pairs_offset, call.output_offset) = (1, 0, 4096, 8192)
        (call.row_count, call.width, call.pair_count) = (1, UInt32(side), 1)
        _ = ExpertCall.send(&call, on: caller.raw)
        try Seqpacket.send(node.raw, InvokeEvent.accept([]).frame)
        try check(shutdown(node.raw, Int32(SHUT_WR)), "end the rehearsal's channel")

        var cpus = [Int32](repeating: 0, count: 1024)
        let count = min(try check(locum_allowed_cpus(&cpus, 1024), "ask for this process's CPUs"), 1024)
        let context = WorkerContext(
            channel: try copy(channel), shard: try copy(shard.readable), shardBytes: UInt64(plan.length),
            statusPage: try copy(page.writable), name: "rehearsal", runtime: .expert, cpus: [UInt32(cpus[0])],
            sequences: 0)
        _ = run(context) {}
        // A lane pins itself; the zygote stays free, and so does what it forks.
        try check(locum_allow_cpus(cpus, count), "free this process from its CPU")
    }

    /// A descriptor that `run` may close.
    private static func copy(_ descriptor: Descriptor) throws(SyscallError) -> Int32 {
        try check(fcntl(descriptor.raw, F_DUPFD_CLOEXEC, 3), "copy a descriptor")
    }
}
