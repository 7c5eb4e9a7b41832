// Users and groups by name, as this machine knows them; a number is taken as it is.
import Glibc

public enum Account {
    /// - Throws: `SettingsError` when there is no such user.
    public static func user(_ name: String) throws(SettingsError) -> UInt32 {
        if let number = UInt32(name) { return number }
        guard let entry = getpwnam(name) else { throw missing("user", name) }
        return entry.pointee.pw_uid
    }

    /// - Throws: `SettingsError` when there is no such group.
    public static func group(_ name: String) throws(SettingsError) -> UInt32 {
        if let number = UInt32(name) { return number }
        guard let entry = getgrnam(name) else { throw missing("group", name) }
        return entry.pointee.gr_gid
    }

    private static func missing(_ kind: String, _ name: String) -> SettingsError {
        SettingsError(
            "there is no \(kind) '\(name)' on this machine; make it with systemd-sysusers, or name another")
    }
}
