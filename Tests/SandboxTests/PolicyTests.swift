// The policies as data, and that they compile.
import Foundation
import Glibc
@testable import Policies
import Sandbox
import SeccompCompiler
import Syscall
import Testing

@Suite("System-call policies")
struct PolicyTests {
    static let all = SeccompPolicy.Name.allCases
    static let sandboxed: [SeccompPolicy.Name] = [.expert, .router, .importer]

    @Test("an expert may make at most 25 calls, a router at most 35")
    func size() throws {
        let (expert, router) = (try SeccompPolicy(.expert), try SeccompPolicy(.router))
        #expect(expert.allowedCalls.count <= 25)
        #expect(router.allowedCalls.count <= 35)
        #expect(expert.rules.allSatisfy { router.rules.contains($0) })
    }

    @Test(
        "no policy allows what opens, starts, connects, traces or changes rights, under any condition",
        arguments: sandboxed)
    func forbidden(name: SeccompPolicy.Name) throws {
        let policy = try SeccompPolicy(name)
        let never = [
            "open", "openat", "openat2", "execve", "execveat", "fork", "vfork", "clone", "clone3", "socket", "connect",
            "bind", "ptrace", "process_vm_readv", "kill", "tgkill", "mount", "unshare", "setns", "bpf",
            "io_uring_setup", "prctl", "ioctl", "setuid", "capset", "memfd_create", "userfaultfd", "perf_event_open",
            "pidfd_getfd",
        ]
        #expect(Set(policy.allowedCalls).isDisjoint(with: never))
    }

    @Test(
        "what maps memory is allowed only without PROT_EXEC and MAP_FIXED, without a file only private, and killed with PROT_EXEC",
        arguments: sandboxed)
    func executable(name: SeccompPolicy.Name) throws {
        let policy = try SeccompPolicy(name)
        #expect(policy.action("mmap", [0, 4096, 3, 0x22, 0, 0]) == .allow)
        #expect(policy.action("mmap", [0, 4096, 3, 0x32, 0, 0]) == nil)
        for call in ["mmap", "mprotect", "pkey_mprotect"] {
            for protection in UInt64(4)..<8 {
                #expect(policy.action(call, [0, 4096, protection, 0x22, 0, 0]) == .kill, "\(call) \(protection)")
            }
        }
    }

    @Test("control, too, runs no program, maps no code, starts no process and changes no rights")
    func control() throws {
        let control = try SeccompPolicy(.control)
        for call in ["execve", "execveat", "ptrace", "process_vm_readv", "mount", "bpf", "setuid", "capset", "unshare"]
        {
            #expect(control.action(call, [0, 0, 0, 0, 0, 0]) == .kill, "\(call)")
        }
        #expect(control.action("mmap", [0, 4096, 5, 2, 3, 0]) == .kill)
        #expect(control.action("clone", [0x11, 0, 0, 0, 0, 0]) == nil)
        #expect(control.action("clone", [0x3d0f00, 0, 0, 0, 0, 0]) == .allow)
        #expect(
            Set(control.allowedCalls).isDisjoint(with: ["fork", "vfork", "clone3", "kill", "tkill", "memfd_create"]))
    }

    @Test("each file has one allowed call a line, none twice, and says why", arguments: all)
    func lines(name: SeccompPolicy.Name) throws {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
        let text = try String(contentsOfFile: "\(path)/../../Runtime/Policies/\(name.rawValue).policy", encoding: .utf8)
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.hasPrefix("@") }
        #expect(Set(lines.map { String($0.prefix { $0 != ":" }) }) == Set(try SeccompPolicy(name).allowedCalls))
        #expect(lines.count == (try SeccompPolicy(name).allowedCalls.count))
        for line in lines { #expect(line.contains("# "), "\(line)") }
    }

    @Test("a wrong policy file is refused with its line")
    func wrong() {
        let wrong = [
            "read", "read: maybe", "read: 1; allow-all", "mmap: arg9 == 1", "mmap: arg2 == NOTHING", "mmap: arg2 & 3",
            "@default allow", "@include nothing.policy", "read: arg0 == 1 && ",
        ]
        for text in wrong {
            let error = #expect(throws: PolicyError.self, "\(text)") {
                try SeccompPolicy(name: "x") { $0 == "x.policy" ? Array("# first\n\(text)\n".utf8) : nil }
            }
            if !text.hasPrefix("@include") { #expect(error?.line == 2 && error?.file == "x.policy", "\(text)") }
        }
    }

    @Test("each policy compiles to whole instructions in a sealed file", arguments: all)
    func compiles(name: SeccompPolicy.Name) throws {
        let policy = try SeccompPolicy(name)
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
