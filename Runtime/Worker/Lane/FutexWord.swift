// The one thing that threads of a worker wait on besides their sockets. Waiting spins for a while first where
// the caller expects a short wait, because an idle core takes some 40 µs to wake.
import CLinux
import Synchronization

/// A 32-bit counter on a cache line of its own.
final class FutexWord: @unchecked Sendable {
    private let word: UnsafeMutablePointer<Atomic<UInt32>>

    init(_ value: UInt32 = 0) {
        word = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64)
            .bindMemory(to: Atomic<UInt32>.self, capacity: 1)
        word.initialize(to: Atomic(value))
    }

    deinit {
        word.deinitialize(count: 1)
        UnsafeMutableRawPointer(word).deallocate()
    }

    private var address: UnsafePointer<UInt32> {
        UnsafeRawPointer(word).assumingMemoryBound(to: UInt32.self)
    }

    var value: UInt32 { word.pointee.load(ordering: .sequentiallyConsistent) }

    func store(_ value: UInt32) { word.pointee.store(value, ordering: .sequentiallyConsistent) }

    /// Stores and returns what was there.
    func exchange(_ value: UInt32) -> UInt32 {
        word.pointee.exchange(value, ordering: .sequentiallyConsistent)
    }

    /// Adds, wrapping, and returns the sum.
    @discardableResult
    func add(_ amount: UInt32) -> UInt32 {
        word.pointee.wrappingAdd(amount, ordering: .sequentiallyConsistent).newValue
    }

    /// Subtracts, wrapping, and returns the difference.
    @discardableResult
    func subtract(_ amount: UInt32) -> UInt32 {
        word.pointee.wrappingSubtract(amount, ordering: .sequentiallyConsistent).newValue
    }

    /// Spins while the value is `value`; false when the time was over first.
    func spin(while value: UInt32, nanoseconds: UInt64) -> Bool { locum_spin_while(address, value, nanoseconds) }

    /// Sleeps while the value is `value`, at most `nanoseconds` if not negative; may return early.
    func sleep(while value: UInt32, nanoseconds: Int64 = -1) { _ = locum_futex_wait(address, value, nanoseconds) }

    /// Wakes all who sleep.
    func wake() { _ = locum_futex_wake(address, .max) }
}
