// The file: equal bytes for equal wishes, whole or not there, and never in place of something else.
import Glibc
import Kernels
import Synchronization
import TestModel
import Testing

@Suite struct OutputTests {
    @Test("The same seed gives the same bytes with one thread and with five, another seed gives others")
    func deterministic() throws {
        try withFolder { folder in
            let model = try TestModel.tiny()
            #expect(try model.write(to: "\(folder)/a", threads: 1) == model.byteCount)
            try model.write(to: "\(folder)/b", threads: 5)
            try TestModel.tiny(seed: 2).write(to: "\(folder)/c", threads: 2)
            let (a, b, c) = (try bytes("\(folder)/a"), try bytes("\(folder)/b"), try bytes("\(folder)/c"))
            #expect(a == b)
            #expect(a.count == model.byteCount && c.count == a.count)
            #expect(a != c)
            #expect(try names(folder).sorted() == ["a", "b", "c"])
        }
    }

    @Test("An ordinary file of the name is replaced only when the new one is whole")
    func replaced() throws {
        try withFolder { folder in
            let path = "\(folder)/model.gguf"
            let model = try TestModel.tiny()
            close(creat(path, 0o600))
            let cancelled = failure { () throws(TestModelError) in
                try model.write(to: path, threads: 2, isCancelled: { true })
            }
            #expect(cancelled?.code == .interrupted)
            #expect(try bytes(path).isEmpty)
            try model.write(to: path, threads: 2)
            #expect(try bytes(path).count == model.byteCount)
            #expect(try names(folder) == ["model.gguf"])
        }
    }

    @Test("What is cancelled half way leaves nothing behind")
    func cancelled() throws {
        try withFolder { folder in
            let asked = Mutex(0)
            let error = failure { () throws(TestModelError) in
                try TestModel.tiny(.f32).write(to: "\(folder)/m", threads: 2) {
                    asked.withLock {
                        $0 += 1
                        return $0 > 10
                    }
                }
            }
            #expect(error?.code == .interrupted)
            #expect(asked.withLock { $0 } > 10)
            let left = try names(folder)
            #expect(left.isEmpty)
        }
    }

    @Test("A folder, a link, a pipe or a device is not replaced")
    func notAFile() throws {
        try withFolder { folder in
            symlink("\(folder)/elsewhere", "\(folder)/link")
            mkfifo("\(folder)/pipe", 0o600)
            mkdir("\(folder)/folder", 0o700)
            for path in ["\(folder)/link", "\(folder)/pipe", "\(folder)/folder", "\(folder)/", "/dev/null"] {
                let error = failure { () throws(TestModelError) in try TestModel.tiny().write(to: path, threads: 1) }
                #expect(error?.code == .notAFile, "\(path)")
            }
            let left = try names(folder).sorted()
            #expect(left == ["folder", "link", "pipe"])
        }
    }

    @Test("A missing folder is named")
    func missingFolder() throws {
        try withFolder { folder in
            let error = failure { () throws(TestModelError) in
                try TestModel.tiny().write(to: "\(folder)/none/m", threads: 1)
            }
            #expect(error?.code == .writeFailed)
            #expect(error?.message.contains("\(folder)/none") == true)
        }
    }

    @Test("Beyond the limit for a file's size it says so and leaves nothing behind")
    func limited() async {
        await #expect(processExitsWith: .success) {
            try withFolder { folder in
                signal(SIGXFSZ, SIG_IGN)
                var limit = rlimit(rlim_cur: 1 << 20, rlim_max: 1 << 20)
                guard setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else { exit(2) }
                let error = failure { () throws(TestModelError) in
                    try TestModel.tiny().write(to: "\(folder)/m", threads: 2)
                }
                guard error?.code == .diskFull else { exit(3) }
                guard try names(folder).isEmpty else { exit(4) }
            }
        }
    }

    @Test("On a full disk it says so and leaves nothing behind", .enabled(if: geteuid() == 0, "mounting takes root"))
    func full() throws {
        try withFolder { folder in
            try #require(mount("none", folder, "tmpfs", 0, "size=4m") == 0)
            defer { umount2(folder, Int32(MNT_DETACH)) }
            let model = try TestModel.tiny()
            let error = failure { () throws(TestModelError) in try model.write(to: "\(folder)/m", threads: 2) }
            #expect(error?.code == .diskFull)
            #expect(error?.message.contains("\(model.byteCount)") == true)
            let left = try names(folder)
            #expect(left.isEmpty)
        }
    }
}
