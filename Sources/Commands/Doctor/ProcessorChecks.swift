// The processor: how fast it computes, what it is known to leak, and the clock.
import CLinux
import Glibc
import Kernels

enum ProcessorChecks {
    static func all() -> [Check] { [cores(), mitigations(), time()] }

    private static func cores() -> Check {
        Kernels.initialize()
        let path = Kernels.instructionSet
        let model = HostFile.field("model name", in: HostFile.text("/proc/cpuinfo") ?? "") ?? "unknown processor"
        let cores = Up.standardThreads
        let found = "\(model), \(cores) core\(cores == 1 ? "" : "s") for us, kernels: \(path)"
        guard path == "scalar" else { return .ok("cpu", found) }
        return .note(
            "cpu", found,
            "the processor (or LOCUM_ISA) lacks AVX2, FMA and F16C: the same tokens, several times slower. In a virtual "
                + "machine pass the host's processor on (-cpu host)")
    }

    /// Reported only: what to do is the host's to decide.
    private static func mitigations() -> Check {
        let folder = "/sys/devices/system/cpu/vulnerabilities"
        let names = HostFile.names(folder)
        guard !names.isEmpty else {
            return .note(
                "mitigations", "the kernel does not say (\(folder))",
                "what a worker could learn by side channels is not known here")
        }
        let open = names.compactMap { name -> String? in
            guard let text = HostFile.text("\(folder)/\(name)"), text.lowercased().contains("vulnerable") else {
                return nil
            }
            return "\(name): \(text)"
        }
        guard !open.isEmpty else { return .ok("mitigations", "\(names.count) known, none open") }
        return .note(
            "mitigations", "\(open.count) of \(names.count) open: " + open.joined(separator: "; "),
            "a worker that was taken over may learn something of its neighbours; newer microcode or kernel options close "
                + "what can be closed")
    }

    private static func time() -> Check {
        var now = Glibc.time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date =
            "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)) UTC"
        let source = HostFile.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        let found = "\(date), clock source \(source ?? "unknown")"
        if parts.tm_year + 1900 < 2025 {
            return .note(
                "time", found, "the clock is wrong: dates of models and logs will be; set it, or run an NTP client")
        }
        // What the vDSO reads without a system call.
        let quick = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"]
        guard let source, !quick.contains(source) else { return .ok("time", found) }
        return .note(
            "time", found,
            "every look at this clock is a system call, which slows calls of experts; boot with tsc=reliable "
                + "if the processor's counter can be trusted")
    }
}
