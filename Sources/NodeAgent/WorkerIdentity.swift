// A uid of its own for every worker: as root, workers cannot even signal each other. An ordinary user has
// one id only; there the namespaces keep workers apart.
import Glibc
import Sandbox

/// Chooses host uids for workers.
struct WorkerIdentity {
    /// "lo" in ASCII in front: far from the ranges of people, services and containers.
    private static let usual = Sandbox.firstWorkerUser
    private static let most: UInt32 = 65_536

    /// First uid and how many there are; none for an ordinary user.
    private let range: Range<UInt32>

    /// - Parameter map: the text of /proc/self/uid_map: lines of first id here, first id outside, count.
    init(isRoot: Bool = geteuid() == 0, map: String) {
        guard isRoot else {
            range = 0..<0
            return
        }
        let mapped = map.split(separator: "\n").compactMap { line -> Range<UInt64>? in
            let fields = line.split(separator: " ").compactMap { UInt64($0) }
            return fields.count == 3 ? fields[0]..<fields[0] + fields[2] : nil
        }
        let (first, end) = (UInt64(Self.usual), UInt64(Self.usual + Self.most))
        if mapped.contains(where: { $0.lowerBound <= first && end <= $0.upperBound }) {
            range = Self.usual..<Self.usual + Self.most
        } else if let widest = mapped.max(by: { $0.count < $1.count }), widest.count > 2 {
            // A container that maps a part of the ids only: the upper half of what there is.
            let end = min(widest.upperBound, UInt64(Self.usual))
            let count = min(UInt64(widest.count / 2), UInt64(Self.most), end / 2)
            range = UInt32(end - count)..<UInt32(end)
        } else {
            range = 0..<0
        }
    }

    /// The uid for an instance, never 0 as root; 0 for an ordinary user, which means: stay who you are.
    func uid(for instance: UInt64) -> UInt32 {
        range.isEmpty ? 0 : range.lowerBound + UInt32(instance % UInt64(range.count))
    }
}
