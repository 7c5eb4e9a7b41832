// What the probe program does when a test starts it.
import CLinux
import CProbe
import ForkServer
import Glibc
import Sandbox
import Syscall
import Wire

/// Every attempt by an expert and by a router behind all walls, then by an expert without the filter.
func attempts() throws {
    let node = try ProbeNode()
    for (walls, runtime, sealed) in [
        ("expert", FunctionRuntime.expert, true), ("router", .router, true), ("unfiltered", .expert, false),
    ] {
        for index in 0..<probe_count() {
            let name = String(cString: probe_name(index))
            let worker = try node.spawn(name, runtime: runtime, sealed: sealed)
            let answer = try word(of: worker)
            let status = try node.end(of: worker)
            say("\(name) \(walls) \(describe(answer, status))")
        }
    }
    for name in ["trap", "abort"] {
        let worker = try node.spawn(name)
        _ = try word(of: worker)
        say("\(name) expert \(describe(nil, try node.end(of: worker)))")
    }
    if !IsolatedProcess.usesUserNamespace {
        let worker = try node.spawn("live", uid: 0)
        let answer = try word(of: worker) ?? "nothing"
        _ = try node.end(of: worker)
        say("uid-0 expert \(answer.contains("as root") ? "refused" : answer)")
    }
    node.process.kill()
    _ = try node.process.wait()
}

func describe(_ answer: String?, _ status: Int32) -> String {
    if status & 0x7f != 0 { return "signal \(status & 0x7f)" }
    guard let answer, let value = Int(answer) else { return "silent \(status) \(answer ?? "")" }
    return value < 0 ? "errno \(-value)" : "succeeded \(value)"
}

/// An expert and a router with three threads each, for a test that reads /proc.
func live() throws {
    let node = try ProbeNode()
    for feature in node.features { say("feature \(feature.name) \(feature.state)") }
    var workers: [ProbeWorker] = []
    for runtime in [FunctionRuntime.expert, .router] {
        let worker = try node.spawn("live", runtime: runtime, lanes: 3)
        guard try word(of: worker) == "ready" else { throw SyscallError(stage: "hear a live worker", errno: EPROTO) }
        say("worker \(try hostPid(of: worker))")
        workers.append(worker)
    }
    say("zygote \(node.process.pid)")
    say("up")
    _ = readAll(0)
    // Workers whose channel ends leave by themselves, the zygote without node too.
    let first = workers.removeFirst()
    let pidfd = first.pidfd
    _ = consume first
    var watched = pollfd(fd: pidfd.raw, events: Int16(POLLIN), revents: 0)
    say("left \(poll(&watched, 1, 2000))")
    node.process.kill()
    say("zygote-status \(try node.process.wait())")
    var orphan = pollfd(fd: workers[0].pidfd.raw, events: Int16(POLLIN), revents: 0)
    say("orphan-ended \(poll(&orphan, 1, 2000))")
}

/// Times from the order to the word of a sealed worker, and its memory.
func speed() throws {
    let node = try ProbeNode()
    var (spawned, ready): ([UInt64], [UInt64]) = ([], [])
    var memory: [Int] = []
    for _ in 0..<300 {
        let start = locum_monotonic_ns()
        let worker = try node.spawn("live", lanes: 2)
        spawned.append(locum_monotonic_ns() - start)
        _ = try word(of: worker)
        ready.append(locum_monotonic_ns() - start)
        memory.append(try privateBytes(try hostPid(of: worker)))
        _ = locum_pidfd_signal(worker.pidfd.raw, SIGKILL)
        _ = try node.end(of: worker)
    }
    func median(_ values: [UInt64]) -> UInt64 { values.sorted()[values.count / 2] / 1000 }
    say("spawned_us \(median(spawned)) ready_us \(median(ready)) private_kib \(memory.sorted()[150] / 1024)")
    node.process.kill()
    _ = try node.process.wait()
}
