// Users and groups by name, as this machine knows them; a number is taken as it is.
import Glibc

public enum Account {
    /// - Throws: `SettingsError` when there is no such user.
    public static func user(_ name: String) throws(SettingsError) -> UInt32 {
        if let number = UInt32(name) { return number }
        guard let entry = getpwnam(name) else {
            throw SettingsError(
                description:
                    "there is no user '\(name)' on this machine; make it with systemd-sysusers, or name another")
        }
        return entry.pointee.pw_uid
    }

    /// - Throws: `SettingsError` when there is no such group.
    public static func group(_ name: String) throws(SettingsError) -> UInt32 {
        if let number = UInt32(name) { return number }
        guard let entry = getgrnam(name) else {
            throw SettingsError(
                description:
                    "there is no group '\(name)' on this machine; make it with systemd-sysusers, or name another")
        }
        return entry.pointee.gr_gid
    }
}
