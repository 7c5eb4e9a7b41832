// The policies as data, and that they compile.
import Glibc
import NodeAgent
import Sandbox
import Syscall
import Testing

@Suite("System-call policies")
struct PolicyTests {
    static let all = [SeccompPolicy.expert, .router, .importer]

    @Test("an expert may make at most 25 calls, a router at most 35")
    func size() {
        #expect(SeccompPolicy.expert.allowedCalls.count <= 25)
        #expect(SeccompPolicy.router.allowedCalls.count <= 35)
        #expect(Set(SeccompPolicy.expert.allowedCalls).isSubset(of: SeccompPolicy.router.allowedCalls))
    }

    @Test(
        "no policy allows what opens, starts, connects, traces or changes rights, under any condition", arguments: all)
    func forbidden(policy: SeccompPolicy) {
        let never = [
            "open", "openat", "openat2", "execve", "execveat", "fork", "vfork", "clone", "clone3", "socket", "connect",
            "bind", "ptrace", "process_vm_readv", "kill", "tgkill", "mount", "unshare", "setns", "bpf",
            "io_uring_setup", "prctl", "ioctl", "setuid", "capset", "memfd_create", "userfaultfd", "perf_event_open",
            "pidfd_getfd",
        ]
        #expect(Set(policy.allowedCalls).isDisjoint(with: never))
    }

    @Test("what maps memory is allowed only without PROT_EXEC, and killed with it", arguments: all)
    func executable(policy: SeccompPolicy) {
        for rule in policy.rules where ["mmap", "mprotect", "pkey_mprotect"].contains(rule.call) {
            #expect(rule.conditions.count == 1, "\(rule.call)")
            let condition = rule.conditions[0]
            #expect(condition.argument == 2 && condition.mask == 4, "\(rule.call)")
            #expect(condition.value == (rule.action == .kill ? 4 : 0), "\(rule.call)")
        }
    }

    @Test("every rule says why, and no call is both allowed and killed without a condition", arguments: all)
    func consistent(policy: SeccompPolicy) {
        for rule in policy.rules { #expect(!rule.reason.isEmpty, "\(rule.call)") }
        let plain = policy.rules.filter { $0.conditions.isEmpty }
        #expect(Set(plain.map(\.call)).count == plain.count)
    }

    @Test("each policy compiles to whole instructions in a sealed file", arguments: all)
    func compiles(policy: SeccompPolicy) throws {
        let file = try policy.compile()
        var information = stat()
        #expect(fstat(file.raw, &information) == 0)
        #expect(information.st_size % 8 == 0 && information.st_size > 8 * policy.allowedCalls.count)
        var byte: UInt8 = 0
        #expect(pwrite(file.raw, &byte, 1, 0) == -1, "the instructions can be written over")
        #expect(throws: Never.self) { try SeccompFilter(descriptor: file.raw) }
    }

    @Test("a filter that is empty, torn or too long is refused")
    func badFilter() throws {
        for count in [0, 4, 12, 8 * 4097] {
            let file = try SharedMemory(name: "filter", count: count)
            #expect(throws: SyscallError.self, "\(count) bytes") { try SeccompFilter(descriptor: file.readable.raw) }
        }
    }
}
