// Every system call of the platform by number, each in a worker of its own, from each of its threads. What the kernel
// does is printed; a test holds it against the policy files. Lines: `WALLS THREAD NUMBER ARGUMENTS ANSWER`, arguments in
// hexadecimal with commas.
import CLinux
import CProbe
import Glibc
import Sandbox
import Syscall
import Wire

/// A call that stands in a worker's name, as `call THREAD NUMBER ARGUMENTS`.
struct NumberedCall {
    let thread: Int32
    let number: Int
    let arguments: [UInt]

    init(thread: Int32 = 0, _ number: Int, _ arguments: [UInt]) {
        (self.thread, self.number, self.arguments) = (thread, number, arguments)
    }

    init?(_ name: String) {
        let words = name.split(separator: " ")
        guard words.count == 4, words[0] == "call", let thread = Int32(words[1]), let number = Int(words[2])
        else { return nil }
        self.init(thread: thread, number, words[3].split(separator: ",").compactMap { UInt($0, radix: 16) })
    }

    var words: String { "\(thread) \(number) \(arguments.map { String($0, radix: 16) }.joined(separator: ","))" }

    /// The kernel's answer or -errno; 0 when the thread ended by it.
    func make() -> Int {
        let answer = probe_call(thread, number, arguments)
        return answer == .min ? 0 : answer
    }

    /// More numbers than any kernel has calls, and for each two sets of arguments that reach nothing: all bits clear, all
    /// set. Where a policy looks at arguments, those about its conditions' edges.
    static func all(thread: Int32) -> [NumberedCall] {
        let ones = UInt.max
        var calls = (0..<512).flatMap { number in
            [[UInt](repeating: 0, count: 6), [UInt](repeating: ones, count: 6)].map {
                NumberedCall(thread: thread, number, $0)
            }
        }
        func add(_ number: Int32, _ arguments: UInt...) {
            let rest = [UInt](repeating: 0, count: 6 - arguments.count)
            calls.append(NumberedCall(thread: thread, Int(number), arguments + rest))
        }
        let private_ = UInt(0x22)
        for protection in UInt(0)..<8 {
            add(probe_sys_mmap, 0, 4096, protection, private_, ones)
            add(probe_sys_mmap, 0x10000, 4096, protection, private_ | 0x10, ones)
            // Shared without a file, growing downwards, locked, huge, at a place that must be free; shared with a file.
            for flags in [UInt(0x21), 0x122, 0x2022, 0x40022, 0x100022, 1, 0x4001, 0x4021] {
                add(probe_sys_mmap, 0, 4096, protection, flags, ones)
            }
            add(probe_sys_mprotect, 0, 0, protection)
            add(probe_sys_pkey_mprotect, 0, 0, protection, ones)
        }
        // The kernel looks at the lower half of these arguments only, and so must the policy.
        for high in [UInt(0), 1 << 32] {
            for operation in UInt(0)..<16 {
                add(probe_sys_futex, 0, operation | high)
                add(probe_sys_futex, 0, operation | high | 128)
            }
            add(probe_sys_futex, 0, 393 | high)
            for command in UInt(0)..<17 { add(probe_sys_fcntl, ones, command | high) }
            for command in UInt(1024)..<1040 { add(probe_sys_fcntl, ones, command | high) }
            for option in UInt(0)..<80 { add(probe_sys_setsockopt, ones, 1 | high, option) }
            add(probe_sys_setsockopt, ones, 6, 20)
        }
        for flags in UInt(0)..<8 { add(probe_sys_mremap, 0, 0, 0, flags) }
        for advice in UInt(0)..<128 { add(probe_sys_madvise, 0, 0, advice) }
        return calls
    }
}

/// An expert and a router, three threads each: all calls from the first, those with clear bits from the others.
func calls() throws {
    let node = try ProbeNode()
    for (walls, runtime) in [("expert", FunctionRuntime.expert), ("router", .router)] {
        for thread in Int32(0)..<3 {
            for call in NumberedCall.all(thread: thread) where thread == 0 || call.arguments.allSatisfy({ $0 == 0 }) {
                let worker = try node.spawn("call \(call.words)", runtime: runtime, lanes: 3)
                // A worker whose first thread has ended lives on, silently.
                var watched = pollfd(fd: worker.channel.raw, events: Int16(POLLIN), revents: 0)
                if poll(&watched, 1, 2000) == 0 { _ = locum_pidfd_signal(worker.pidfd.raw, SIGKILL) }
                let answer = try word(of: worker)
                say("\(walls) \(call.words) \(describe(answer, try node.end(of: worker)))")
            }
        }
    }
    node.process.kill()
    _ = try node.process.wait()
}

/// The same in an import, which has one thread.
func importCalls() throws {
    for call in NumberedCall.all(thread: 0) {
        say("import \(call.words) \(try importer(asked: "call \(call.words)"))")
    }
}
