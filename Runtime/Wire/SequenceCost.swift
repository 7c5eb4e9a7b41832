// What a sequence has cost beside tokens, counted where it is computed: who pays for it is control's to know.

/// What was spent on a sequence since it began. Sums: a later one contains an earlier one.
public struct SequenceCost: WireMessage, Equatable {
    /// CPU time of experts, in nanoseconds: of each of their batches its rows' part.
    public var expertNanoseconds: UInt64
    /// Functions that were started for it.
    public var coldStarts: UInt32
    /// Bytes of keys and values times milliseconds that they were held.
    public var cacheByteMilliseconds: UInt64

    public init(expertNanoseconds: UInt64 = 0, coldStarts: UInt32 = 0, cacheByteMilliseconds: UInt64 = 0) {
        (self.expertNanoseconds, self.coldStarts) = (expertNanoseconds, coldStarts)
        self.cacheByteMilliseconds = cacheByteMilliseconds
    }

    public static func + (a: Self, b: Self) -> Self {
        Self(
            expertNanoseconds: a.expertNanoseconds &+ b.expertNanoseconds, coldStarts: a.coldStarts &+ b.coldStarts,
            cacheByteMilliseconds: a.cacheByteMilliseconds &+ b.cacheByteMilliseconds)
    }

    /// What came since an earlier one; nothing where this is not later.
    public func since(_ earlier: Self) -> Self {
        func more(_ now: UInt64, _ before: UInt64) -> UInt64 { now > before ? now - before : 0 }
        return Self(
            expertNanoseconds: more(expertNanoseconds, earlier.expertNanoseconds),
            coldStarts: UInt32(more(UInt64(coldStarts), UInt64(earlier.coldStarts))),
            cacheByteMilliseconds: more(cacheByteMilliseconds, earlier.cacheByteMilliseconds))
    }

    public func encode(into w: inout WireWriter) {
        w.integer(expertNanoseconds)
        w.integer(coldStarts)
        w.integer(cacheByteMilliseconds)
    }

    public init(from r: inout WireReader) throws(WireError) {
        expertNanoseconds = try r.integer()
        coldStarts = try r.integer()
        cacheByteMilliseconds = try r.integer()
    }
}
