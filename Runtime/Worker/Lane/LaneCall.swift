// The doorbell of a call, checked. It comes from a process that may be hostile: every number is held against
// the arenas before a pointer is made of it, and pairs, which lie in shared memory, are read once.
import CLinux
import Link
import Syscall

/// A call whose rows, pairs and output lie within its link's arenas.
struct LaneCall {
    let number: UInt64
    let rows: Int
    let pairs: Int
    /// (rows, width)
    let input: UnsafeRawPointer
    let pairList: UnsafeRawPointer
    /// (pairs, width)
    let output: UnsafeMutableRawPointer
    /// The same within the reply arena.
    let outputRange: Range<Int>

    /// nil unless everything about the call is right.
    init?(_ call: locum_call, _ link: LaneLink, width: Int) {
        guard call.magic == LOCUM_CALL_MAGIC, call.version == UInt16(LOCUM_LINK_VERSION),
            call.kind == UInt16(LOCUM_CALL_APPLY),
            Int(call.width) == width, call.row_count > 0, (1...UInt32(ExpertCall.mostPairs)).contains(call.pair_count)
        else { return nil }
        (rows, pairs, number) = (Int(call.row_count), Int(call.pair_count), call.call)
        let request = 0..<link.arenas.request.count
        // 2^32 rows of 2^16 floats are 2^50 bytes: no product here overflows.
        guard let rowRange = Self.range(call.rows_offset, rows * width * 4, within: request),
            let pairRange = Self.range(call.pairs_offset, pairs * MemoryLayout<locum_pair>.size, within: request),
            let outputRange = Self.range(call.output_offset, pairs * width * 4, within: link.share)
        else { return nil }
        input = UnsafeRawPointer(link.arenas.request.base + rowRange.lowerBound)
        pairList = UnsafeRawPointer(link.arenas.request.base + pairRange.lowerBound)
        output = link.arenas.reply.base + outputRange.lowerBound
        self.outputRange = outputRange
    }

    /// `bytes` bytes from `offset`, if they lie within `bounds` and on whole floats.
    private static func range(_ offset: UInt64, _ bytes: Int, within bounds: Range<Int>) -> Range<Int>? {
        guard let start = Int(exactly: offset), start % 4 == 0, start >= bounds.lowerBound, start <= bounds.upperBound,
            bytes <= bounds.upperBound - start
        else { return nil }
        return start..<start + bytes
    }

    /// Pair `index`, read from shared memory: the answer may differ the next time.
    func pair(_ index: Int) -> locum_pair {
        pairList.loadUnaligned(fromByteOffset: index * MemoryLayout<locum_pair>.size, as: locum_pair.self)
    }
}
