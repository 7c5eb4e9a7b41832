// Capabilities by libcap. Emptied means all five sets: what is effective, permitted and inheritable, what is
// ambient, and the bounding set, which limits what an exec could give back.
import CCap
import CLinux
import Syscall

extension Sandbox {
    /// Leaves exactly `kept` in the effective and permitted sets, `bounding` in the bounding set (what programs it starts
    /// may have) and nothing in the others.
    static func keepCapabilities(_ kept: [cap_value_t], bounding: [cap_value_t] = []) throws(SyscallError) {
        var number: cap_value_t = 0
        // Answers -1 past the last capability that the kernel knows.
        while case let held = cap_get_bound(number), held >= 0 {
            if held > 0, !bounding.contains(number) {
                try check(cap_drop_bound(number), "drop capability \(number) from the bounding set")
            }
            number += 1
        }
        try check(cap_reset_ambient(), "empty the ambient capabilities")
        try setCapabilities(kept)
    }

    /// The same for a process whose bounding and ambient sets are empty already, as a worker's are from the start.
    static func setCapabilities(_ kept: [cap_value_t]) throws(SyscallError) {
        guard let sets = cap_init() else { throw SyscallError(stage: "make a set of capabilities") }
        defer { cap_free(UnsafeMutableRawPointer(sets)) }
        let count = Int32(kept.count)
        for set in [CAP_PERMITTED, CAP_EFFECTIVE] where count > 0 {
            try check(cap_set_flag(sets, set, count, kept, CAP_SET), "choose capabilities")
        }
        try check(cap_set_proc(sets), "set the capabilities to \(kept)")
    }
}
