import Scheduler
import Testing

@Suite struct PressureGovernorTests {
    @Test("Nothing is held back while nobody waits")
    func calm() {
        var governor = PressureGovernor()
        for _ in 0..<100 { governor.observe(stalled: 0.05) }
        #expect(governor.heldBack == 0)
    }

    @Test("Under pressure more and more is held back, up to everything; afterwards it comes back more slowly")
    func pressure() {
        var governor = PressureGovernor()
        var before = 0.0
        for _ in 0..<8 {
            governor.observe(stalled: 0.4)
            #expect(governor.heldBack > before)
            before = governor.heldBack
        }
        governor.observe(stalled: 0.4)
        #expect(governor.heldBack == 1)
        var steps = 0
        while governor.heldBack > 0, steps < 1000 {
            governor.observe(stalled: 0)
            steps += 1
        }
        #expect(steps > 16 && steps < 1000)
    }

    @Test("Between the two marks it stays as it is")
    func between() {
        var governor = PressureGovernor()
        governor.observe(stalled: 0.5)
        let held = governor.heldBack
        for _ in 0..<50 { governor.observe(stalled: 0.05) }
        #expect(governor.heldBack == held && held > 0)
    }
}
