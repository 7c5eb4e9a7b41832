// The node's clock: the same CLOCK_MONOTONIC that workers write into their status pages.
import CLinux

/// Nanoseconds of CLOCK_MONOTONIC.
func monotonic() -> UInt64 { locum_monotonic_ns() }
