// Numbers as Prometheus reads them. What promtool says of all of Locum's is in Tests/Integration/test_metrics.py.
import Observability
import SeededRandom
import Testing

@Suite("Exposition") struct ExpositionTests {
    @Test("Each family says what it is, and labels are escaped")
    func text() {
        let nasty = "a\"b\\c\nd{}=, é"
        let text = Exposition.text([
            MetricFamily(
                .counter, "x_total", "All \\ of\nthem \"here\".",
                [
                    .init([.init("tenant", nasty), .init("code", "2xx")], .number(3)),
                    .init([.init("tenant", "")], .number(0.25)),
                ]),
            MetricFamily(.gauge, "y_bytes", "Bytes.", 12_345_678_901_234),
            MetricFamily(.gauge, "z", "No values.", []),
            MetricFamily(
                .gauge, "w", "Odd.",
                [.init([], .number(.infinity)), .init([], .number(-.infinity)), .init([], .number(.nan))]),
        ])
        #expect(
            text == #"""
                # HELP x_total All \\ of\nthem "here".
                # TYPE x_total counter
                x_total{tenant="a\"b\\c\nd{}=, é",code="2xx"} 3
                x_total 0.25
                # HELP y_bytes Bytes.
                # TYPE y_bytes gauge
                y_bytes 12345678901234
                # HELP z No values.
                # TYPE z gauge
                # HELP w Odd.
                # TYPE w gauge
                w +Inf
                w -Inf
                w NaN

                """#)
    }

    @Test("A histogram's steps are cumulative, and a value on a bound is below it")
    func histogram() {
        var histogram = Histogram(bounds: [0.5, 1, 2.5])
        let values: [Double] = [0.5, 0.500001, 1, 2, 100, -1]
        for value in values + [.nan, .infinity] { histogram.observe(value) }
        #expect(histogram.counts == [2, 2, 1, 1] && histogram.count == 6)
        let text = Exposition.text([
            MetricFamily(
                .histogram, "h_seconds", "Seconds.", [.init([.init("runtime", "expert")], .distribution(histogram))])
        ])
        #expect(
            text == """
                # HELP h_seconds Seconds.
                # TYPE h_seconds histogram
                h_seconds_bucket{runtime="expert",le="0.5"} 2
                h_seconds_bucket{runtime="expert",le="1"} 4
                h_seconds_bucket{runtime="expert",le="2.5"} 5
                h_seconds_bucket{runtime="expert",le="+Inf"} 6
                h_seconds_sum{runtime="expert"} \(values.reduce(0, +))
                h_seconds_count{runtime="expert"} 6

                """)
    }

    @Test("There are never more series than may be, nothing is lost, and none ever goes down")
    func cap() {
        var random = SplitMix64(7)
        var values = LabelledValues<Double>(bounded: ["code"], unbounded: ["tenant", "model"], most: 50)
        var before: [[MetricFamily.Label]: Double] = [:]
        for step in 1...10_000 {
            let code = ["2xx", "4xx", "5xx"][Int.random(in: 0..<3, using: &random)]
            let (tenant, model) = (
                "t\(Int.random(in: 0..<200, using: &random))", "m\(Int.random(in: 0..<9, using: &random))"
            )
            values.add([code, tenant, model])
            guard step % 1000 == 0 else { continue }
            let samples = values.samples
            #expect(samples.count <= 50 + 3)
            var sum = 0.0
            var now: [[MetricFamily.Label]: Double] = [:]
            for sample in samples {
                guard case .number(let value) = sample.value else { continue }
                sum += value
                now[sample.labels] = value
                #expect(value >= before[sample.labels] ?? 0)
            }
            #expect(sum == Double(step) && now.count == samples.count && before.keys.allSatisfy { now[$0] != nil })
            before = now
        }
        #expect(before.keys.contains { $0.map(\.value) == ["2xx", "_other", "_other"] })
    }
}
