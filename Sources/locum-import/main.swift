// The process that reads a stranger's model. Node starts it in empty namespaces with two descriptors: 3 is
// its channel to node, 4 the compiled system-call filter. It closes itself in before the first byte from
// outside, and from then on has its channel and what comes over it.
import Glibc
import ModelImport
import Sandbox
import Syscall

let channel: Int32 = 3
do throws(SyscallError) {
    try Sandbox.enterImport(channel: channel, filter: 4)
} catch {
    _ = ImportProcess.fail(
        channel: channel, code: "sandbox_failed", message: "locum-import could not enter its sandbox: \(error)")
    _exit(1)
}
_exit(ImportProcess.serve(channel: channel))
