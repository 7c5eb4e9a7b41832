// The kernel: its version, the calls that Locum cannot do without, and what makes it better where it is there.
import CLinux
import Glibc
import Syscall

enum KernelChecks {
    static func all() -> [Check] {
        [version(), calls(), seccomp(), landlock(), pressure(), coreScheduling()]
    }

    private static func version() -> Check {
        var info = utsname()
        uname(&info)
        let release = withUnsafeBytes(of: info.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let machine = withUnsafeBytes(of: info.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let found = "Linux \(release), \(machine)"
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        guard numbers.count == 2, numbers.lexicographicallyPrecedes([5, 14]) else { return .ok("kernel", found) }
        return .note(
            "kernel", found,
            "before 5.14 weights are read page by page, so that cold experts come slowly; 6.1 (Debian 12) or later is "
                + "better")
    }

    private static func calls() -> Check {
        var missing: [String] = []
        func tried(_ name: String, _ result: Int32) {
            if result < 0 { missing.append("\(name): \(Trial.reason(errno))") }
        }
        if let failure = Trial.failure(0) { missing.append("clone3: \(failure)") }
        let pidfd = locum_pidfd_open(getpid())
        tried("pidfd_open", pidfd)
        if pidfd >= 0 { close(pidfd) }
        // Numbers far beyond what is open.
        tried("close_range", locum_close_range(1 << 30, 1 << 30))
        do { _ = try SharedMemory(name: "locum-doctor", count: 4096) } catch { missing.append("\(error)") }
        guard !missing.isEmpty else {
            return .ok("kernel_calls", "clone3, pidfd_open, close_range and sealed shared memory work")
        }
        return .problem(
            "kernel_calls", missing.joined(separator: "; "),
            "Locum takes Linux 5.11 or later with /proc; if this kernel is, a container's filter hides the calls: have it "
                + "allow them, or run Locum outside of it")
    }

    private static func seccomp() -> Check {
        // BPF: return SECCOMP_RET_ALLOW.
        let allow: [UInt8] = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f]
        let failure = allow.withUnsafeBytes { program in
            Trial.failure(0) {
                locum_set_no_new_privileges() < 0 || locum_seccomp_load(program.baseAddress, 1) < 0 ? errno : 0
            }
        }
        if failure == nil, locum_seccomp_can_kill_process() {
            return .ok("seccomp", "filters for all threads (TSYNC), KILL_PROCESS")
        }
        return .problem(
            "seccomp", failure.map { "a filter cannot be loaded: \($0)" } ?? "no KILL_PROCESS",
            "workers do not run without a filter; take a kernel with CONFIG_SECCOMP_FILTER (4.14 or later), or a "
                + "container that leaves seccomp(2) alone")
    }

    private static func landlock() -> Check {
        let version = locum_landlock_version()
        if version > 0 { return .ok("landlock", "version \(version)") }
        let off = errno == EOPNOTSUPP
        return .note(
            "landlock", off ? "switched off at boot" : "not in this kernel (\(Trial.reason(errno)))",
            "the second wall behind the empty root folder is missing; the others hold. "
                + (off ? "Add landlock to the kernel's lsm= option" : "Kernels since 5.13 have it, Debian's since 12"))
    }

    private static func pressure() -> Check {
        if let text = HostFile.text("/proc/pressure/memory"), text.hasPrefix("some ") {
            return .ok("pressure", "PSI: \(text.split(separator: "\n").first ?? "")")
        }
        return .note(
            "pressure", "no PSI (/proc/pressure/memory)",
            "Locum does not notice that the host runs short of memory; give it a budget with room to spare "
                + "(--memory), or boot with psi=1")
    }

    private static func coreScheduling() -> Check {
        let answer = locum_core_scheduling()
        if answer >= 0 { return .ok("core_scheduling", "offered") }
        if errno == ENODEV { return .ok("core_scheduling", "not needed: no hyperthreads") }
        return .note(
            "core_scheduling", "not in this kernel (\(Trial.reason(errno)))",
            "with hyperthreads a worker may share a core with a stranger and learn from its timing; kernels with "
                + "CONFIG_SCHED_CORE can prevent that, or switch hyperthreads off (nosmt)")
    }
}
