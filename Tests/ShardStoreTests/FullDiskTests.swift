// A real full disk: a small tmpfs, which only root can mount.
import Glibc
import Testing

@testable import ShardStore

@Suite(.enabled(if: geteuid() == 0, "mounting a small file system takes root"))
struct FullDiskTests {
    @Test("On a full disk the reservation fails with disk_full and leaves nothing behind")
    func full() throws {
        try withFolder { path in
            let disk = "\(path)/disk"
            mkdir(disk, 0o700)
            // 20 MiB, 16 of which the store leaves free.
            try #require(mount("none", disk, "tmpfs", 0, "size=20m") == 0)
            defer {
                umount2(disk, Int32(MNT_DETACH))
                rmdir(disk)
            }
            let store = try makeStore(disk)
            let small = try store.createTemporary(length: 2 << 20)
            let error = try #require(failure { _ = try store.createTemporary(length: 3 << 20) })
            #expect(error.code == "disk_full")
            #expect(error.message.contains("\(3 << 20)"))
            #expect(names("\(disk)/tmp").count == 1)
            small.remove()
            #expect(names("\(disk)/tmp").isEmpty)
        }
    }
}
