// How the node starts its two kinds of children. A pair of functions, so that the node's logic can be tested
// with peers that play zygote and import, and so that only one file knows how isolation is done.
public import Syscall

/// Starts the zygote and imports. Both get the descriptor given as their descriptor 3.
public struct Launcher {
    /// Starts the zygote; the argument is its end of the channel.
    public let zygote: (Descriptor) throws -> StartedProcess
    /// Starts an import.
    public let importer: (Descriptor) throws -> StartedProcess

    public init(
        zygote: @escaping (Descriptor) throws -> StartedProcess,
        importer: @escaping (Descriptor) throws -> StartedProcess
    ) {
        (self.zygote, self.importer) = (zygote, importer)
    }
}
