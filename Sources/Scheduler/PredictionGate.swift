// A predictor's own account. Each hint that was issued costs the disk's time if it was wrong and saves a caller's
// wait if it was right; when a window of settled hints shows a loss, the predictor is switched off. It is then tried
// on one prediction in 64, and as long as that pays, on twice as many, until it is on again; a loss puts it back to
// one in 64. Between on and off lies a margin, so that a predictor at the border does not flap.
//
// Which predictions are tried is drawn by a generator of its own with a fixed seed: every 64th would fall on the same
// few layers for ever. No clock: the window is a number of hints.

/// What a read costs on this host's disk.
public struct DiskSpeed: Sendable, Equatable {
    public var bytesPerSecond: Double
    /// Seconds before the first byte.
    public var latency: Double

    public init(bytesPerSecond: Double, latency: Double = 100e-6) {
        (self.bytesPerSecond, self.latency) = (max(1, bytesPerSecond), latency)
    }

    /// Seconds to read so many bytes.
    public func seconds(_ bytes: Int) -> Double { latency + Double(bytes) / bytesPerSecond }
}

/// A predictor's numbers.
public struct PredictionStatistics: Sendable, Equatable {
    public internal(set) var isOn = true
    /// Share of the predictions that are issued: 1, or what it is tried on.
    public internal(set) var share = 1.0
    public internal(set) var issued = 0
    public internal(set) var used = 0
    public internal(set) var late = 0
    public internal(set) var wasted = 0
    public internal(set) var bytesIssued = 0
    public internal(set) var bytesWasted = 0
    /// Seconds of waiting saved, and of the disk's time spent for nothing.
    public internal(set) var secondsSaved = 0.0
    public internal(set) var secondsLost = 0.0
    public internal(set) var timesSwitchedOff = 0
    /// Share of the settled hints that were called, in the present window; nil before the first.
    public internal(set) var precision: Double?
}

/// Decides whether a predictor's hints are issued.
public struct PredictionGate: Sendable {
    public var disk: DiskSpeed
    public private(set) var statistics = PredictionStatistics()

    private var issuedBytes: [UInt64: Int] = [:]
    /// What the latest settled hints gained, in seconds, and how many of them were called.
    private var window: [Settled] = []
    private var next = 0
    /// Sums over the window.
    private var gain = 0.0
    private var reads = 0.0
    private var called = 0
    /// One prediction in 2^halvings is issued.
    private var halvings = 0
    private var random: UInt64 = 0x9E37_79B9_7F4A_7C15

    private struct Settled {
        var gain: Double
        var readSeconds: Double
        var wasCalled: Bool
    }

    /// Settled hints that are judged together while it is on, and while it is tried.
    private static let window = 256
    private static let trial = 32
    /// The rarest trials: one in 64.
    private static let rarest = 6
    /// What counts as gain or loss: this share of the reads' time. Less is chance.
    private static let margin = 0.05

    public init(disk: DiskSpeed) { self.disk = disk }

    public var isOn: Bool { halvings == 0 }

    /// Whether the prediction that was just made is to be issued. Ask once per prediction, then call `issued`.
    public mutating func admits() -> Bool {
        guard halvings > 0 else { return true }
        // xorshift64 (Marsaglia 2003)
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        return random >> 11 & ((1 << UInt64(halvings)) - 1) == 0
    }

    /// A hint goes out. One that is out already is not counted again.
    public mutating func issued(_ id: UInt64, bytes: Int) {
        guard issuedBytes[id] == nil else { return }
        issuedBytes[id] = bytes
        statistics.issued += 1
        statistics.bytesIssued += bytes
    }

    /// It was called after it was read: its whole read was saved.
    public mutating func used(_ id: UInt64) {
        guard let bytes = issuedBytes.removeValue(forKey: id) else { return }
        statistics.used += 1
        settle(gain: disk.seconds(bytes), bytes: bytes, wasCalled: true)
    }

    /// It was called while it was being read; `ahead` seconds of the read were over.
    public mutating func late(_ id: UInt64, ahead: Double = 0) {
        guard let bytes = issuedBytes.removeValue(forKey: id) else { return }
        statistics.late += 1
        settle(gain: min(max(ahead, 0), disk.seconds(bytes)), bytes: bytes, wasCalled: true)
    }

    /// It was read, and evicted or overtaken without a call: the disk was kept from better work.
    public mutating func wasted(_ id: UInt64) {
        guard let bytes = issuedBytes.removeValue(forKey: id) else { return }
        statistics.wasted += 1
        statistics.bytesWasted += bytes
        settle(gain: -disk.seconds(bytes), bytes: bytes, wasCalled: false)
    }

    /// It was never read, so it cost nothing and shows nothing.
    public mutating func dropped(_ id: UInt64) { issuedBytes[id] = nil }

    /// What Residency says of its hints.
    public mutating func settled(_ outcome: HintOutcome) {
        switch outcome.kind {
        case .used: used(outcome.id)
        // How far the read was is not known: half of it.
        case .late: late(outcome.id, ahead: disk.seconds(outcome.bytes) / 2)
        case .wasted: wasted(outcome.id)
        case .dropped: dropped(outcome.id)
        }
    }

    private mutating func settle(gain: Double, bytes: Int, wasCalled: Bool) {
        statistics.secondsSaved += max(gain, 0)
        statistics.secondsLost += max(-gain, 0)
        let entry = Settled(gain: gain, readSeconds: disk.seconds(bytes), wasCalled: wasCalled)
        let size = isOn ? Self.window : Self.trial
        if window.count < size {
            window.append(entry)
        } else {
            count(window[next], sign: -1)
            window[next] = entry
            next = (next + 1) % size
        }
        count(entry, sign: 1)
        statistics.precision = Double(called) / Double(window.count)
        judge()
        statistics.isOn = isOn
        statistics.share = 1 / Double(1 << halvings)
    }

    private mutating func count(_ entry: Settled, sign: Int) {
        gain += Double(sign) * entry.gain
        reads += Double(sign) * entry.readSeconds
        if entry.wasCalled { called += sign }
    }

    private mutating func judge() {
        if isOn {
            // A clear loss need not wait for a full window.
            let isClear = window.count >= Self.trial && gain < -reads / 2
            guard isClear || (window.count == Self.window && gain < -Self.margin * reads) else { return }
            statistics.timesSwitchedOff += 1
            restart(halvings: Self.rarest)
        } else if window.count == Self.trial {
            restart(halvings: gain > Self.margin * reads ? halvings - 1 : Self.rarest)
        }
    }

    private mutating func restart(halvings: Int) {
        self.halvings = halvings
        window.removeAll(keepingCapacity: true)
        (next, gain, reads, called) = (0, 0, 0, 0)
    }
}
