// Memory for one conversion, reused for all: rows as read, and rows as they become. Its size follows from
// the widest row of the model (a few MiB), never from a file's length.

final class Scratch {
    private var memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 64)

    deinit { memory.deallocate() }

    /// At least `count` bytes, 64-byte aligned; what was in them is gone.
    func bytes(_ count: Int) -> UnsafeMutableRawBufferPointer {
        if memory.count < count {
            memory.deallocate()
            memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 64)
        }
        return UnsafeMutableRawBufferPointer(rebasing: memory[..<count])
    }

    /// At least `count` floats.
    func floats(_ count: Int) -> UnsafeMutableBufferPointer<Float> { bytes(count * 4).bindMemory(to: Float.self) }
}
