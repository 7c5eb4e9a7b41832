// What one process learns of another through the processor. It cannot be shut off; this is what Linux offers a process.
import CLinux
import Glibc

enum SideChannels {
    /// A stranger on the same core's other hyperthread could watch the caches, and what the processor does by speculation
    /// can be read. It concerns this thread and what it forks; words for `locum status`.
    static func narrow() -> (cores: String, speculation: String) {
        let isAlone = locum_share_no_core() == 0
        let hasNoOther = !isAlone && errno == ENODEV
        let cores =
            isAlone
            ? "shared with no stranger"
            : hasNoOther ? "without hyperthreads" : "absent: no core scheduling in this kernel"
        let speculation =
            switch locum_limit_speculation(hasNoOther) {
            case 0: "as the kernel has it: no more is offered"
            case 1: "no store bypass"
            case 2: "L1D flushed at each switch"
            default: "no store bypass, L1D flushed at each switch"
            }
        return (cores, speculation)
    }
}
