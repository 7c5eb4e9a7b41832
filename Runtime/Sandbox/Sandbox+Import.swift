// The walls around an import, which reads what a stranger wrote. The program is linked dynamically, so its
// loader has to run before the root folder is emptied: it does this itself, first of all, and nothing of
// the model is read before.
import CCap
import CLinux
import Glibc
public import Syscall

extension Sandbox {
    /// Closes the calling process, started by `IsolatedProcess`, for good. What it may read and write comes
    /// as descriptors over `channel`.
    /// - Parameters:
    ///   - channel: the socket to node, the one descriptor that stays open.
    ///   - filter: a file with the compiled policy of an import; it is closed.
    /// - Throws: `SyscallError` that names the step; the process must then end.
    public static func enterImport(channel: Int32, filter: Int32) throws(SyscallError) {
        try assertOneThread()
        try check(locum_set_parent_death_signal(SIGKILL), "set the parent-death signal")
        let filter = try SeccompFilter(descriptor: filter)
        try check(locum_raise_file_limit(), "raise the limit of open files")
        try check(locum_lower_limit(LOCUM_LIMIT_CORE, 0), "limit core files")
        try check(locum_lower_limit(LOCUM_LIMIT_DATA, importMemory), "limit private memory")
        try check(locum_close_all_but([channel], 1), "close descriptors")
        try forgetHostName()
        try emptyRoot()
        // The bounding set needs a capability that setting the uid takes away, so it goes first.
        try keepCapabilities(geteuid() == 0 ? [CAP_SETUID, CAP_SETGID] : [])
        if geteuid() == 0 {
            try becomeImportUser()
            try setCapabilities([])
            // The uid changed, which clears it.
            try check(locum_set_parent_death_signal(SIGKILL), "set the parent-death signal")
        }
        guard geteuid() != 0 else { throw SyscallError(stage: "start an import as root", errno: EPERM) }
        _ = SideChannels.narrow()
        try check(locum_set_no_new_privileges(), "set no_new_privs")
        var absence = ""
        try Landlock.probe(absence: &absence)?.restrict()
        // The rule set was a descriptor.
        try check(locum_close_all_but([channel], 1), "close descriptors")
        try filter.load()
    }

    /// A uid that no other import has, by chance; `nobody` where a container maps only a part of the uids.
    private static func becomeImportUser() throws(SyscallError) {
        var chance: UInt16 = 0
        try check(locum_random(&chance, 2), "draw a uid")
        let uid = firstImportUser + UInt32(chance)
        if locum_become(uid, uid) == 0 { return }
        guard errno == EINVAL else { throw SyscallError(stage: "become user \(uid)") }
        try check(locum_become(65534, 65534), "become user 65534")
    }
}
