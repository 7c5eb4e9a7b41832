// Room on the disk that belongs to the registry. Whoever has filled the disk frees it by removing a model, and
// SQLite can remove nothing without room for its log. So a file beside the registry holds that room while there is
// plenty; it is removed when the disk is full, and made again when there is room once more.
import Glibc

/// The file that keeps room for one removal.
struct SpaceReserve {
    /// Less would not even hold SQLite's shared memory and the log of a small removal.
    private static let least = 64 << 10

    let path: String

    /// Frees the room; false when there was none.
    func giveBack() -> Bool { unlink(path) == 0 }

    /// Sets aside `bytes`, or as much of it as the disk has.
    func keep(_ bytes: Int) {
        var information = stat()
        if stat(path, &information) == 0, Int(information.st_size) >= bytes { return }
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { return }
        defer { close(file) }
        var size = bytes
        while size >= Self.least {
            if posix_fallocate(file, 0, off_t(size)) == 0 { return }
            // What was set aside before stays.
            size /= 2
        }
        if Int(information.st_size) < Self.least { unlink(path) }
    }
}
