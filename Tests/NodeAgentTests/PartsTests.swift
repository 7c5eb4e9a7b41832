// The small parts of the node, each by itself.
import Glibc
import Sandbox
import Syscall
import Testing
import Wire

@testable import NodeAgent

@Suite struct PartsTests {
    @Test("Deadlines fire in order, cancelled ones do not, and a deadline may set another")
    func deadlines() throws {
        let loop = try EventLoop()
        var fired: [String] = []
        loop.after(.milliseconds(20)) { fired.append("late") }
        let cancelled = loop.after(.milliseconds(5)) { fired.append("cancelled") }
        loop.after(.milliseconds(1)) {
            fired.append("early")
            loop.after(.milliseconds(1)) { fired.append("set by early") }
        }
        loop.cancel(cancelled)
        loop.after(.milliseconds(40)) { loop.stop() }
        try loop.run()
        #expect(fired == ["early", "set by early", "late"])
    }

    @Test("Jobs share the loop: a short one ends while a long one runs, and sockets are looked at in between")
    func jobs() throws {
        let loop = try EventLoop()
        let (ours, theirs) = try Seqpacket.pair()
        var heard = false
        let token = try loop.watch(ours.raw) { _ in heard = true }
        var slices = 0
        var heardAt = -1
        loop.job {
            slices += 1
            if heard && heardAt < 0 { heardAt = slices }
            return slices < 50
        }
        var short = 0
        loop.job {
            short += 1
            if short == 3 { try? Seqpacket.send(theirs.raw, [1]) }
            return short < 3
        }
        for _ in 0..<120 where slices < 50 { try loop.turn(atMost: 0) }
        #expect(short == 3)
        #expect((1..<50).contains(heardAt))
        loop.unwatch(token, ours.raw)
    }

    @Test(
        "What a peer said before it ended is heard though it left something of ours unread", arguments: [false, true])
    func lastWords(sendingMore: Bool) throws {
        let ours: Descriptor
        var theirs: Descriptor?
        (ours, theirs) = try Seqpacket.pair()
        try Seqpacket.send(ours.raw, [1])
        try Seqpacket.send(theirs!.raw, [2])
        theirs = nil
        if sendingMore {
            let error = #expect(throws: SyscallError.self) { try Seqpacket.send(ours.raw, [3]) }
            #expect(error?.peerIsGone == true)
        }
        #expect(try Seqpacket.receive(ours.raw)?.bytes == [2])
        #expect(try Seqpacket.receive(ours.raw) == nil)
    }

    @Test("A handler that was taken away hears nothing, not even of events at hand")
    func unwatched() throws {
        let loop = try EventLoop()
        let (first, second) = try Seqpacket.pair()
        var calls = 0
        var tokens: [EventLoop.Token] = []
        // Both ends are readable; whichever comes first takes both away.
        for end in [first, second] {
            tokens.append(
                try loop.watch(end.raw) { _ in
                    calls += 1
                    loop.unwatch(tokens[0], first.raw)
                    loop.unwatch(tokens[1], second.raw)
                })
        }
        try Seqpacket.send(first.raw, [1])
        try Seqpacket.send(second.raw, [1])
        try loop.turn(atMost: 10)
        try loop.turn(atMost: 1)
        #expect(calls == 1)
    }

    @Test("As root each instance gets a uid of its own that is never 0; an ordinary user has none to give")
    func identities() {
        let everything = "         0          0 4294967295\n"
        let root = WorkerIdentity(isRoot: true, map: everything)
        #expect(root.uid(for: 0) == Sandbox.firstWorkerUser)
        #expect(root.uid(for: 5) != root.uid(for: 6))
        let container = WorkerIdentity(isRoot: true, map: "0 100000 65536\n")
        for instance in [0, 1, 65535, 1 << 40] as [UInt64] {
            #expect((1..<65536).contains(container.uid(for: instance)))
        }
        #expect(WorkerIdentity(isRoot: true, map: "0 1000 1\n").uid(for: 3) == 0)
        #expect(WorkerIdentity(isRoot: false, map: everything).uid(for: 3) == 0)
    }

    @Test("A cgroup is used where memory or pids is delegated, else it is not left behind and the reason said")
    func cgroups() throws {
        var template = Array("/tmp/locum-cgroup-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            unlink("\(path)/own/g/cgroup.controllers")
            for folder in ["own/g", "own", ""] { rmdir("\(path)/\(folder)") }
        }
        mkdir("\(path)/own", 0o755)
        let mounts = "30 20 0:25 / \(path) rw,nosuid - cgroup2 cgroup2 rw\n"
        let absent = Cgroup.make(name: "g", groups: "1:name=x:/\n0::/own\n", mounts: mounts)
        #expect(absent.group == nil)
        #expect(absent.absence.contains("\(path)/own"))
        #expect(access("\(path)/own/g", F_OK) < 0)
        // Left over from a crash: used again.
        mkdir("\(path)/own/g", 0o755)
        let file = open("\(path)/own/g/cgroup.controllers", O_CREAT | O_WRONLY, 0o644)
        write(file, "cpu pids\n", 9)
        close(file)
        #expect(Cgroup.make(name: "g", groups: "0::/own\n", mounts: mounts).group?.controllers == "cpu pids")
        #expect(Cgroup.make(name: "g", groups: "0::/own\n", mounts: "").absence.contains("not mounted"))
        #expect(Cgroup.make(name: "g", groups: "1:cpu:/\n", mounts: mounts).absence.contains("in no cgroup"))
    }

    @Test("In a group that was delegated node makes room for groups of its own, elsewhere it stays where it is")
    func delegation() throws {
        var template = Array("/tmp/locum-cgroup-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let files = ["own/daemon/cgroup.procs", "own/g/cgroup.controllers"]
        defer {
            for file in files { unlink("\(path)/\(file)") }
            for folder in ["own/daemon", "own/g", "own", ""] { rmdir("\(path)/\(folder)") }
        }
        for folder in ["own", "own/daemon", "own/g"] { mkdir("\(path)/\(folder)", 0o755) }
        for file in files { close(open("\(path)/\(file)", O_CREAT | O_WRONLY, 0o644)) }
        let controllers = open("\(path)/\(files[1])", O_WRONLY)
        write(controllers, "memory pids\n", 12)
        close(controllers)
        let mounts = "30 20 0:25 / \(path) rw,nosuid - cgroup2 cgroup2 rw\n"
        for delegated in [false, true] {
            let group = Cgroup.make(name: "g", groups: "0::/own\n", mounts: mounts) { _ in delegated }.group
            #expect(group?.path == "\(path)/own/g" && group?.whole == "\(path)/own")
            let moved = ProcessFacts.read("\(path)/\(files[0])", atMost: 32)
            #expect(moved == (delegated ? "\(getpid())" : ""))
        }
    }

    @Test("Exit statuses are put into words")
    func exits() {
        #expect("\(ExitReason(status: 3 << 8))".contains("code 3"))
        #expect("\(ExitReason(status: SIGSYS))".contains("sandbox forbids"))
        #expect("\(ExitReason(status: SIGSEGV | 0x80))".contains("signal 11"))
    }

    @Test("A process's own pidfd leads back to its pid")
    func pids() throws {
        let sleeper = try Sleeper()
        let handle = try sleeper.pidfd()
        #expect(ProcessFacts.pid(of: handle) == sleeper.pid)
        let own = ProcessFacts.memory(of: getpid())
        #expect(own.privateBytes > 0 && own.proportionalBytes > own.privateBytes / 2)
        #expect(ProcessFacts.memory(of: -5).proportionalBytes == 0)
    }

    @Test("The kernel's account of waiting for memory is read, and nothing is made of anything else")
    func pressure() {
        let text = "some avg10=12.50 avg60=0.10 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=0\n"
        #expect(MemoryPressure.share(text) == 0.125)
        #expect(MemoryPressure.share("some avg10=250.00") == 1)
        for other in ["", "full avg10=1.00", "some avg10=", "some avg10=nan", "some avg60=1.00"] {
            #expect(MemoryPressure.share(other) == nil)
        }
        #expect((0...1).contains(MemoryPressure.stalled()))
    }
}
