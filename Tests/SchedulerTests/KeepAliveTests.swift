import Scheduler
import Testing

@Suite struct KeepAliveTests {
    private let limits = KeepAliveLimits(floor: .seconds(5), ceiling: .seconds(3600), unknown: .seconds(600))

    private func history(_ gaps: some Sequence<Double>) -> KeepAlive {
        var (history, moment) = (KeepAlive(), Duration.seconds(1000))
        history.arrived(at: moment)
        for gap in gaps {
            moment += .seconds(gap)
            history.arrived(at: moment)
        }
        return history
    }

    @Test("A function that little is known of gets the default")
    func unknown() {
        #expect(KeepAlive().keepAlive(limits) == .seconds(600))
        #expect(history([20, 20, 20]).keepAlive(limits) == .seconds(600))
    }

    @Test("A regular function is kept a little longer than its time between calls")
    func regular() {
        for gap in [10.0, 60, 300, 1800] {
            let kept = history(repeatElement(gap, count: 50)).keepAlive(limits)
            #expect(kept >= .seconds(gap) && kept <= .seconds(gap * 1.2))
        }
    }

    @Test("The percentile is over times between calls, not over calls' hours")
    func percentile() {
        let gaps = (1...1000).map { $0 % 100 == 0 ? 1000.0 : 20.0 }
        #expect(history(gaps).keepAlive(limits, percentile: 0.95) < .seconds(30))
        #expect(history(gaps).keepAlive(limits, percentile: 0.995) > .seconds(1000))
    }

    @Test("Floor and ceiling hold")
    func bounds() {
        #expect(history(repeatElement(0.001, count: 100)).keepAlive(limits) == .seconds(5))
        #expect(history(repeatElement(3599, count: 100)).keepAlive(limits) == .seconds(3600))
    }

    @Test("A function called more seldom than the ceiling gets the default")
    func outOfBounds() {
        #expect(history(repeatElement(90_000, count: 100)).keepAlive(limits) == .seconds(600))
        // A few long absences do not hide what is regular within the bounds.
        let mixed = (1...100).map { $0 % 10 == 0 ? 90_000.0 : 30.0 }
        #expect(history(mixed).keepAlive(limits) < .seconds(40))
    }

    @Test("A fixed idle timeout overrides what was learned")
    func fixed() {
        var limits = limits
        limits.fixed = .seconds(7)
        #expect(history(repeatElement(60, count: 100)).keepAlive(limits) == .seconds(7))
        #expect(KeepAlive().keepAlive(limits) == .seconds(7))
    }

    @Test("New habits prevail over old ones")
    func forgetting() {
        let gaps = [repeatElement(1000.0, count: 4000), repeatElement(10.0, count: 100_000)].joined()
        #expect(history(gaps).keepAlive(limits) < .seconds(13))
    }

    @Test("Times that fall and absurd times do no harm")
    func absurd() {
        var history = KeepAlive()
        for moment in [5, 3, -10, 1 << 60, 0, 7] as [Int64] { history.arrived(at: .seconds(moment)) }
        #expect(history.keepAlive(limits) == .seconds(600))
        let none = KeepAliveLimits(floor: .zero, ceiling: .zero, unknown: .seconds(9))
        #expect(self.history(repeatElement(1, count: 50)).keepAlive(none) == .zero)
    }
}
