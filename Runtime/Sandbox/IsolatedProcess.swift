// How node starts what it does not trust: the zygote and each import. One clone3 makes the child and all its
// namespaces at once, so there is no moment in which it exists outside them. As root no user namespace is
// made (workers get uids of their own instead); an ordinary user needs one to be allowed the other
// namespaces, and in it only his own id exists, under its own number.
import CLinux
import Glibc
public import Syscall

/// A program started in namespaces of its own: PID, mount, network, IPC, UTS, and as an ordinary user also user.
public struct IsolatedProcess: Sendable {
    /// Its pid as the caller sees it; inside it is 1.
    public let pid: Int32
    /// Readable when it has ended; signals through it cannot hit a stranger.
    public let pidfd: Descriptor

    /// What a program keeps of its capabilities until it gives them up by itself.
    public struct Capabilities: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        public static let setGroup = Capabilities(rawValue: 1 << 6)
        public static let setUser = Capabilities(rawValue: 1 << 7)
        /// To empty the bounding set.
        public static let setCapabilities = Capabilities(rawValue: 1 << 8)
        /// To mount, to change the root, to make namespaces.
        public static let administration = Capabilities(rawValue: 1 << 21)
        /// What `Sandbox.enterZygote` and `Sandbox.enterImport` need.
        public static let toEnterSandbox: Capabilities = [.setGroup, .setUser, .setCapabilities, .administration]
    }

    /// Whether programs started here get a user namespace: always but for root.
    public static var usesUserNamespace: Bool { geteuid() != 0 }

    /// What every program gets: a crash ends it without another program that looks at it.
    public static let environment = ["SWIFT_BACKTRACE=enable=no"]

    /// Starts `executable` and returns when it runs.
    /// - Parameters:
    ///   - executable: an open descriptor of the program file (O_PATH is enough).
    ///   - arguments: including the program's name.
    ///   - environment: `NAME=value`; nothing is inherited.
    ///   - descriptors: at most 16 pairs of a descriptor here and its number there. 0 to 2 are /dev/null
    ///     unless given; every other descriptor is closed.
    /// - Throws: `SyscallError` that names the stage; no process is left behind.
    public static func start(
        executable: Int32, arguments: [String], environment: [String] = environment,
        descriptors: [(from: Int32, to: Int32)]
    ) throws(SyscallError) -> IsolatedProcess {
        var namespaces = LOCUM_NEW_PIDS | LOCUM_NEW_MOUNTS | LOCUM_NEW_NETWORK | LOCUM_NEW_IPC | LOCUM_NEW_UTS
        var capabilities: Capabilities = .toEnterSandbox
        if usesUserNamespace {
            namespaces |= LOCUM_NEW_USER
            capabilities = [.setCapabilities, .administration]
        }
        let (from, to) = (descriptors.map(\.from), descriptors.map(\.to))
        var order = locum_isolated()
        order.executable = executable
        order.namespaces = namespaces
        order.capabilities = capabilities.rawValue
        order.descriptors = Int32(descriptors.count)
        let pid = withCStrings(arguments) { arguments in
            withCStrings(environment) { environment in
                from.withUnsafeBufferPointer { from in
                    to.withUnsafeBufferPointer { to in
                        (order.arguments, order.environment) = (arguments, environment)
                        (order.from, order.to) = (from.baseAddress, to.baseAddress)
                        return locum_start_isolated(&order)
                    }
                }
            }
        }
        guard pid > 0 else {
            let number = errno
            let stage = order.stage.map { String(cString: $0) } ?? "start"
            throw SyscallError(stage: "start \(arguments.first ?? "a program") isolated: \(stage)", errno: number)
        }
        return IsolatedProcess(pid: pid, pidfd: Descriptor(owning: order.pidfd))
    }

    /// Kills it with everything in its PID namespace.
    public func kill() { _ = locum_pidfd_signal(pidfd.raw, SIGKILL) }

    /// Waits until it has ended, and returns its wait status. Only its parent may ask.
    public func wait() throws(SyscallError) -> Int32 {
        var status: Int32 = 0
        while true {
            let ended = waitpid(pid, &status, 0)
            if ended < 0 && errno == EINTR { continue }
            try check(ended, "wait for process \(pid)")
            return status
        }
    }

    /// Runs `body` with a NULL-terminated array of C strings.
    private static func withCStrings<T>(
        _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> T
    ) -> T {
        var pointers = strings.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        pointers.append(nil)
        return pointers.withUnsafeBufferPointer { buffer in
            withExtendedLifetime(strings) { buffer.baseAddress.map(body) }
        } ?? body([nil])
    }
}
