// locum-probe: a zygote whose workers misbehave, and the node that starts it. Everything between is what
// workers get: IsolatedProcess, ForkServer, the compiled policies. Static, as locum-zygote is.
//
//   locum-probe            the zygote (started by the next two)
//   locum-probe attempts   makes every attempt in a worker of its own; a line each: NAME WALLS ANSWER
//   locum-probe calls      makes every system call by number, from each thread of a worker; see Calls.swift
//   locum-probe live       holds workers up, prints a line about each, until standard input ends
//   locum-probe speed      forks workers one after another and prints times
//   locum-probe import     makes every attempt in an import's sandbox (filter: descriptor 4)
//   locum-probe import-calls  makes every system call by number in an import's sandbox
import CLinux
import CProbe
import ForkServer
import Glibc
import Syscall
import Wire

/// An attempt's worker: what it was asked for stands in its name.
func misbehave(order: SpawnOrder, descriptors: WorkerDescriptors, seal: () throws(SyscallError) -> Void) -> Int32 {
    let channel = descriptors.channel
    do {
        // As the real one: map what came, then hold the channel alone.
        let page = try Mapping(descriptors.statusPage, count: 4096, writable: true)
        close(descriptors.shard)
        close(descriptors.statusPage)
        for _ in order.cpus.dropFirst() {
            try check(locum_thread_start({ _ in probe_park() }, nil, 65536), "start a thread")
        }
        // libc makes calls of its own while a thread starts: the filter waits for that.
        probe_await_parked(Int32(order.cpus.count - 1))
        // `sequences` 1: try it with the filter missing, to see the other walls.
        if order.sequences != 1 { try seal() }
        switch order.name {
        case "live":
            try Seqpacket.send(channel, Array("ready".utf8))
            withExtendedLifetime(page) { _ = try? Seqpacket.receive(channel) }
            return 0
        case "trap":
            let none: [Int] = []
            return Int32(none[Int(order.instance)])
        case "abort":
            abort()
        default:
            let answer = NumberedCall(order.name)?.make() ?? probe_run(probe_find(order.name))
            try Seqpacket.send(channel, Array("\(answer)".utf8))
            return 0
        }
    } catch {
        try? Seqpacket.send(channel, Array("failed: \(error)".utf8))
        return 1
    }
}

do {
    switch CommandLine.arguments.dropFirst().first {
    case nil: ForkServer.serve(features: [], body: misbehave)
    case "attempts": try attempts()
    case "calls": try calls()
    case "live": try live()
    case "speed": try speed()
    case "import": try imports()
    case "import-calls": try importCalls()
    case "importer": importer()
    case let other?:
        say("unknown mode \(other)")
        exit(64)
    }
} catch {
    say("failed: \(error)")
    exit(1)
}
