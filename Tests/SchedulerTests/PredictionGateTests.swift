// A predictor that is wrong must cost next to nothing, one that is right must be let alone, and one that changes must
// be noticed both ways.
import Scheduler
import SeededRandom
import Testing

@Suite struct PredictionGateTests {
    private let disk = DiskSpeed(bytesPerSecond: 1e9, latency: 1e-4)
    private let bytes = 900_000

    /// `count` predictions that are right with probability `precision`; answers how many were issued.
    private func predict(
        _ count: Int, precision: Double, _ gate: inout PredictionGate, _ random: inout SplitMix64
    ) -> Int {
        var issued = 0
        for id in 0..<UInt64(count) where gate.admits() {
            issued += 1
            gate.issued(id, bytes: bytes)
            if random.chance(precision) { gate.used(id) } else { gate.wasted(id) }
        }
        return issued
    }

    @Test("A useless predictor costs less than 3 % of what it would cost unchecked")
    func useless() {
        var (gate, random) = (PredictionGate(disk: disk), SplitMix64(1))
        let issued = predict(100_000, precision: 0.02, &gate, &random)
        #expect(!gate.isOn && gate.statistics.share == 1.0 / 64)
        #expect(issued < 3000 && issued > 1000)
        #expect(gate.statistics.secondsLost < 0.03 * 100_000 * disk.seconds(bytes))
        #expect(gate.statistics.bytesWasted == gate.statistics.wasted * bytes)
    }

    @Test("A good predictor stays on", arguments: [0.6, 0.75, 0.95])
    func good(_ precision: Double) {
        var (gate, random) = (PredictionGate(disk: disk), SplitMix64(2))
        #expect(predict(100_000, precision: precision, &gate, &random) == 100_000)
        #expect(gate.isOn && gate.statistics.timesSwitchedOff == 0)
        #expect(abs((gate.statistics.precision ?? 0) - precision) < 0.1)
        #expect(gate.statistics.secondsSaved > gate.statistics.secondsLost)
    }

    @Test("A predictor that gets better is noticed, and one that gets worse again, too")
    func change() {
        var (gate, random) = (PredictionGate(disk: disk), SplitMix64(3))
        _ = predict(5000, precision: 0.1, &gate, &random)
        #expect(!gate.isOn)
        _ = predict(20_000, precision: 0.8, &gate, &random)
        #expect(gate.isOn)
        let issued = predict(20_000, precision: 0.1, &gate, &random)
        #expect(!gate.isOn && issued < 1000)
        #expect(gate.statistics.timesSwitchedOff == 2)
    }

    @Test("At the border it does not flap")
    func border() {
        var (gate, random) = (PredictionGate(disk: disk), SplitMix64(4))
        _ = predict(200_000, precision: 0.49, &gate, &random)
        #expect(gate.statistics.timesSwitchedOff <= 20)
    }

    @Test("Trials fall on all residues, not on the same layers for ever")
    func trials() {
        var (gate, random) = (PredictionGate(disk: disk), SplitMix64(5))
        _ = predict(1000, precision: 0, &gate, &random)
        var seen: Set<Int> = []
        for index in 0..<20_000 where gate.admits() { seen.insert(index % 24) }
        #expect(seen.count == 24)
    }

    @Test("Late and dropped hints count for what they were")
    func lateAndDropped() {
        var gate = PredictionGate(disk: disk)
        for id in UInt64(1)...4 { gate.issued(id, bytes: bytes) }
        gate.issued(1, bytes: bytes)
        gate.settled(HintOutcome(id: 1, bytes: bytes, kind: .late))
        gate.settled(HintOutcome(id: 2, bytes: bytes, kind: .dropped))
        gate.settled(HintOutcome(id: 3, bytes: bytes, kind: .wasted))
        gate.settled(HintOutcome(id: 4, bytes: bytes, kind: .used))
        gate.used(4)
        gate.wasted(99)
        let seen = gate.statistics
        #expect(seen.issued == 4 && seen.used == 1 && seen.late == 1 && seen.wasted == 1)
        #expect(abs(seen.secondsSaved - 1.5e-3) < 1e-9 && abs(seen.secondsLost - 1e-3) < 1e-9)
        #expect(seen.precision == 2.0 / 3)
    }
}
