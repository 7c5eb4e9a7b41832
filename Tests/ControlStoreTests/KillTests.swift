// kill -9 at any moment: a child process deploys over and over and is killed; whatever it left behind must be one
// whole revision, the one that it last announced or the next.
import FunctionModel
import GRDB
import Glibc
import Testing

@testable import ControlStore

@Suite struct KillTests {
    @Test("A process killed while it deploys leaves a whole revision, and none that was announced is lost")
    func killed() async throws {
        // The child kills itself within a transaction.
        await #expect(processExitsWith: .signal(SIGKILL)) {
            // The child of this test process names its folder after it.
            let folder = "/tmp/locum-registry-kill-\(getppid())"
            mkdir(folder, 0o700)
            let registry = try SQLiteRegistry(path: "\(folder)/registry.sqlite")
            while try registry.models().first?.revision ?? 0 < 5 {
                _ = try registry.deploy(draft(changed: [try registry.models().first?.revision ?? 0]))
            }
            try registry.run { queue in
                try queue.write { db in
                    try db.execute(sql: "DELETE FROM models")
                    kill(getpid(), SIGKILL)
                }
            }
        }
        let folder = "/tmp/locum-registry-kill-\(getpid())"
        defer {
            for name in ["registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm", "registry.sqlite-reserve"] {
                unlink("\(folder)/\(name)")
            }
            rmdir(folder)
        }
        let model = try #require(try SQLiteRegistry(path: "\(folder)/registry.sqlite").models().first)
        #expect(model.revision == 5)
        #expect(model.functions.count == 4)
    }

    @Test("The lock names its holder, waits for a predecessor, and is free when the holder lets go")
    func lock() throws {
        try withFolder { folder in
            var first: RegistryLock? = try RegistryLock(path: "\(folder)/lock")
            #expect(first != nil)
            let error = #expect(throws: StoreError.self) {
                try RegistryLock(path: "\(folder)/lock", patience: .milliseconds(60))
            }
            #expect(error?.code == "locked")
            #expect(error?.message.contains("(process \(getpid()))") == true)
            first = nil
            // Not at once: a child that another test is forking holds a copy of the descriptor until it executes.
            _ = try RegistryLock(path: "\(folder)/lock")
        }
    }
}
