// A real full disk: a small tmpfs, which only root can mount.
import FunctionModel
import Glibc
import Testing

@testable import ControlStore

@Suite(.enabled(if: geteuid() == 0, "mounting a small file system takes root"))
struct FullDiskTests {
    /// Writes until there is no byte left.
    private func fill(_ path: String) {
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        defer { close(file) }
        for size in [65536, 4096, 1] {
            let bytes = [UInt8](repeating: 1, count: size)
            while write(file, bytes, size) > 0 {}
        }
    }

    @Test("On a full disk a model can be removed, also after a restart, and the reserve comes back with the room")
    func full() throws {
        try withFolder { folder in
            let disk = "\(folder)/disk"
            mkdir(disk, 0o700)
            try #require(mount("none", disk, "tmpfs", 0, "size=8m") == 0)
            defer {
                umount2(disk, Int32(MNT_DETACH))
                rmdir(disk)
            }
            let (path, filling) = ("\(disk)/registry.sqlite", "\(disk)/filling")
            var registry = try SQLiteRegistry(path: path)
            // Enough functions for a removal to need more room than the log has already.
            for name in ["a", "b", "c"] { _ = try registry.deploy(draft(name, experts: 150)) }
            registry.close()
            registry = try SQLiteRegistry(path: path)
            fill(filling)
            let error = #expect(throws: StoreError.self) { try registry.deploy(draft("d", experts: 150)) }
            #expect(error?.code == "disk_full")
            #expect(try registry.remove(model: "a"))
            #expect(try registry.models().map(\.name) == ["b", "c"])

            // A registry that was closed has no log, and opening it makes one.
            unlink(filling)
            registry.close()
            registry = try SQLiteRegistry(path: path)
            registry.close()
            fill(filling)
            registry = try SQLiteRegistry(path: path)
            #expect(try registry.remove(model: "b"))

            unlink(filling)
            _ = try registry.reserveInstances(1)
            var information = stat()
            #expect(stat("\(path)-reserve", &information) == 0)
            #expect(information.st_blocks * 512 > 256 << 10)
            registry.close()
        }
    }
}
