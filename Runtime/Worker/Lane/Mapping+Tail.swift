// Working memory grows with the largest batch and is given back from the end.
import Syscall

extension Mapping {
    /// Gives back everything from byte `start` on; nothing if that is beyond the end.
    func discard(from start: Int) {
        if start < count { discard(start..<count, hole: false) }
    }
}
