// What a sandboxed process gives up, in which order, and why in that order. Each mechanism has a file of its
// own here; this page is the whole of it.
//
//  by             step                      why here
//  IsolatedProcess namespaces               first: the rest is done inside them
//                 session                   no terminal, for its children neither
//                 id map (ordinary user)    capabilities of the new user namespace allow the later steps
//                 capabilities cut to a few before the program is executed, so it never had more
//  zygote, import one thread asserted       identity and privileges are per thread in Linux
//                 limits                    while they may be set; workers inherit them
//                 host name                 the new UTS namespace is a copy of the host's until it is set
//                 empty root                needs CAP_SYS_ADMIN; /proc is gone afterwards
//                 capabilities cut again    the mounts are made, forking needs less (import: nothing)
//                 cores of its own          where hyperthreads exist; workers inherit it
//                 speculation limited       where the processor offers it; workers inherit it
//                 no_new_privs              nothing is executed any more
//  each worker    namespaces by clone3      own PID, mount, IPC, UTS; the empty network is the zygote's
//                 process group, signals    signals to a group meet nobody else; none stays blocked
//                 private memory limited    each has its own limit
//                 uid and gid               needs CAP_SETUID, so before capabilities go
//                 parent-death signal       after the uid: the kernel clears it when the uid changes
//                 capabilities emptied      after everything that needed one
//                 no_new_privs              before seccomp and Landlock, which the kernel ties to it
//                 Landlock                  where the kernel has it; a second wall behind the empty root
//                 descriptors closed        last: the rule set was one
//                 (threads start, parked)   they inherit all of the above, which cannot be given to them later
//                 seccomp with TSYNC        last of all: it forbids every step above, in every thread

/// The sandbox of workers, the zygote and imports.
public enum Sandbox {
    /// Uids of workers start here, one per instance (`firstWorkerUser + instance % 65536`), when node runs as root.
    public static let firstWorkerUser: UInt32 = 0x6c6f_0000
    /// Uids of imports start here, drawn at random, when node runs as root.
    static let firstImportUser: UInt32 = 0x6c70_0000
    /// Private memory of an import, which needs a quarter of it whatever the model's size.
    static let importMemory: UInt64 = 1 << 30
    /// Open files of a worker: a router of 1,440 experts with two lanes holds 2,880 sockets.
    static let workerFiles: UInt64 = 16384
}
