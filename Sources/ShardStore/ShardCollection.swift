// Garbage collection in slices: removing a file costs the disk a journal entry, some milliseconds each, and a
// model has thousands of them. Whoever collects sees to it that nothing is committed meanwhile.
import Glibc

/// Files on their way out of the store.
public final class ShardCollection {
    private static let filesPerStep = 4
    private var rest: ArraySlice<String>

    init(_ paths: [String]) { rest = paths[...] }

    /// Removes the next few. False when nothing is left.
    public func step() -> Bool {
        for path in rest.prefix(Self.filesPerStep) { unlink(path) }
        rest = rest.dropFirst(Self.filesPerStep)
        return !rest.isEmpty
    }
}
