// What runs after the fork, in the sandbox: one function's instance. Everything that the sealed process may
// not do any more comes before `seal`: mapping the shard, making epoll sets, starting and pinning threads.
// Everything that touches a caller's bytes comes after it.
public import Syscall
public import Wire
import CLinux
import Kernels
import Link
import Shard

/// What an instance is born with. Descriptors are owned by `Worker.run` from then on.
public struct WorkerContext: Sendable {
    /// Seqpacket channel to node.
    public var channel: Int32
    /// The function's shard, read-only.
    public var shard: Int32
    public var shardBytes: UInt64
    /// A page of `locum_status_page`, writable.
    public var statusPage: Int32
    public var name: String
    public var runtime: FunctionRuntime
    /// One lane (expert) or compute thread (router) per CPU, pinned to it; the calling thread is number 0.
    public var cpus: [UInt32]
    /// Most sequences at once (router).
    public var sequences: Int
    /// Most functions that it calls at once (router); 0: any number.
    public var functionsAtOnce: Int

    public init(
        channel: Int32, shard: Int32, shardBytes: UInt64, statusPage: Int32, name: String, runtime: FunctionRuntime,
        cpus: [UInt32], sequences: Int, functionsAtOnce: Int = 0
    ) {
        self.functionsAtOnce = functionsAtOnce
        (self.channel, self.shard, self.shardBytes, self.statusPage) = (channel, shard, shardBytes, statusPage)
        (self.name, self.runtime, self.cpus, self.sequences) = (name, runtime, cpus, sequences)
    }
}

/// The body of a worker process.
public enum Worker {
    /// What is the same for every instance, done once in the zygote so that workers share its pages.
    public static func prepare() {
        locum_single_arena()
        Kernels.initialize()
        // Only memory is at stake: where it cannot be played, workers are larger.
        try? rehearse()
    }

    /// The instruction set of this process's kernels.
    public static var instructionSet: String { Kernels.instructionSet }

    /// Serves the function until node lets it go.
    /// - Parameter seal: closes the sandbox for all threads; afterwards neither threads nor epoll sets are made.
    /// - Returns: the process's exit code.
    public static func run(_ context: WorkerContext, seal: () throws(SyscallError) -> Void) -> Int32 {
        let channel = Descriptor(owning: context.channel)
        do {
            let parts = try WorkerParts(context)
            // Never given up: when this returns the process ends, and another lane may be reading the shard until then.
            _ = Unmanaged.passRetained(parts)
            switch context.runtime {
            case .expert:
                let server = try ExpertServer(parts, channel: channel)
                try seal()
                return try server.run()
            case .router:
                let server = try RouterServer(try RouterParts(parts, channel: channel))
                try seal()
                parts.status.ready()
                try Seqpacket.send(channel.raw, InvokeRequest.ready(width: 0, experts: 0).frame)
                return server.run()
            }
        } catch {
            let failure = StartFailure(error, function: context.name)
            try? Seqpacket.send(channel.raw, InvokeRequest.failed(code: failure.code, message: failure.message).frame)
            return 1
        }
    }
}
