// Rounding rows to formats with blocks: those with 32 columns against their definitions, the K formats by what they lose.
import Glibc
import Kernels
import SeededRandom
import Testing

private func bytes(_ values: [Float]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

/// What comes back of a row.
private func roundTrip(_ values: [Float], _ format: WeightFormat) throws -> [Float] {
    try widen(convert(bytes(values), .f32, to: format, columns: values.count), format, columns: values.count)
}

/// The root of the mean squared error, in parts of the values' own.
private func loss(_ values: [Float], _ back: [Float]) -> Double {
    let error = zip(values, back).reduce(0.0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
    return sqrt(error / values.reduce(0.0) { $0 + Double($1) * Double($1) })
}

/// Normally distributed values (Box and Muller).
private func normal(_ count: Int, _ source: inout SplitMix64) -> [Float] {
    (0..<count).map { _ in
        let (u, v) = (Double.random(in: 1e-300...1, using: &source), Double.random(in: 0...1, using: &source))
        return Float(sqrt(-2 * log(u)) * cos(2 * .pi * v))
    }
}

@Test("Q5_0 maps the value of largest magnitude to -16")
func q5Centred() throws {
    var values = (0..<32).map { (i: Int) -> Float in Float(i % 13 * 4 + i % 4) / 4 - 6 }
    values[3] = -16  // scale 1
    values[20] = 15.75  // would be 16: the largest step is 15
    let steps = values.map { (x: Float) -> Float in min((x + 16.5).rounded(.down), 31) - 16 }
    #expect(try roundTrip(values, .q5_0) == steps)
}

@Test("Q4_1 and Q5_1 step from the smallest value to the largest", arguments: [(WeightFormat.q4_1, 15), (.q5_1, 31)])
func betweenExtremes(format: WeightFormat, top: Int) throws {
    // From -3 in steps of a half.
    var values = (0..<32).map { Float($0 * 7 % (4 * top)) / 8 - 3 }
    (values[4], values[9]) = (-3, Float(top) / 2 - 3)
    let steps = values.map { (x: Float) -> Float in ((x + 3) * 2 + 0.5).rounded(.down) / 2 - 3 }
    #expect(try roundTrip(values, format) == steps)
}

// ggml's references lose 0.0714 to Q4_K, 0.0361 to Q5_K, 0.0178 to Q6_K.
@Test(
    "Normally distributed rows lose little",
    arguments: [
        (WeightFormat.q8_0, 0.0056), (.q4_0, 0.089), (.q4_1, 0.081), (.q5_0, 0.0445), (.q5_1, 0.0395), (.q4_k, 0.0711),
        (.q5_k, 0.0356), (.q6_k, 0.0172),
    ])
func normalRowsLoseLittle(format: WeightFormat, allowed: Double) throws {
    var source = SplitMix64(40)
    let values = normal(32768, &source)
    #expect(loss(values, try roundTrip(values, format)) < allowed)
}

@Test("The K formats hold rows that are whole steps of theirs", arguments: [WeightFormat.q4_k, .q5_k, .q6_k])
func wholeStepsStay(format: WeightFormat) throws {
    let top = format == .q4_k ? 15 : 31
    let values = (0..<256).map { i in
        // -32 in every 16 values; both extremes in every 32.
        format == .q6_k ? Float(i % 16 * 4 * (i / 16 | 1) % 64 - 32) : Float(63 * (i * 7 % (top + 1))) - 63
    }
    #expect(loss(values, try roundTrip(values, format)) < 1e-6)
}

@Test("Rows without spread stay what they are", arguments: WeightFormat.quantized)
func flatRows(format: WeightFormat) throws {
    #expect(try roundTrip(Array(repeating: 0, count: 512), format).allSatisfy { $0 == 0 })
    for value in [Float(0.37), -0.37, 0.01, -900] {
        let back = try roundTrip(Array(repeating: value, count: 512), format)
        #expect(back.allSatisfy { abs($0 - value) <= abs(value) / 100 }, "\(value)")
    }
}

@Test("Quantisers give the same bits on every path", arguments: WeightFormat.quantized)
func quantizersAreTheSame(format: WeightFormat) throws {
    var source = SplitMix64(41)
    for largest in [Float(1), 1e4, 1e-6, 1e-38] {
        let row = bytes(source.nasty(1024, largest: largest).map { $0 * min(largest, 1) })
        let results = try onEveryPath { try convert(row, .f32, to: format, columns: 1024) }
        #expect(results.others.allSatisfy { $0 == results.scalar })
    }
}

@Test("Every format converts to every other and loses little")
func everyConversion() throws {
    var source = SplitMix64(42)
    let values = normal(512, &source)
    for from in WeightFormat.allCases {
        let plain = try convert(bytes(values), .f32, to: from, columns: 512)
        let held = try widen(plain, from, columns: 512)
        for target in WeightFormat.allCases {
            let back = try widen(convert(plain, from, to: target, columns: 512), target, columns: 512)
            #expect(loss(held, back) < 0.1, "\(from) to \(target)")
        }
    }
}
