// Row operations: the same bits on every path for every length, and right against double precision.
import Glibc
import Kernels
import SeededRandom
import Testing

private let lengths = Array(1...40) + [63, 64, 65, 255, 1000, 2048]

private func onRow(_ x: [Float], _ body: (UnsafeMutablePointer<Float>) -> Void) -> [Float] {
    var copy = x
    copy.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { body(base) } }
    return copy
}

@Test("Row operations give the bits of the scalar reference for every length", .enabled(if: !otherPaths.isEmpty))
func rowsAreTheSame() {
    var source = SplitMix64(31)
    for n in lengths {
        let (x, y) = (source.nasty(n), source.nasty(n))
        let logits = source.uniform(n, -200...200)
        let operations: [(String, () -> [Float])] = [
            ("axpy", { onRow(y) { Kernels.axpy(0.3, x, to: $0, count: n) } }),
            ("rmsnorm", { onRow(y) { Kernels.rmsNorm(x, weight: y, epsilon: 1e-6, count: n, into: $0) } }),
            ("softmax", { onRow(logits) { Kernels.softmax($0, count: n) } }),
            ("softmax of the same", { onRow(Array(repeating: -7, count: n)) { Kernels.softmax($0, count: n) } }),
            ("silu", { onRow(x) { Kernels.siluMultiply(gate: logits, up: y, count: n, into: $0) } }),
        ]
        for (name, operation) in operations {
            let results = onEveryPath(operation)
            #expect(results.others.allSatisfy { sameBits(results.scalar, $0) }, "\(name) of \(n)")
        }
        let sums = onEveryPath { Kernels.logSumExp(logits, count: n).bitPattern }
        #expect(sums.others.allSatisfy { $0 == sums.scalar })
    }
}

@Test("Row operations agree with double precision")
func rowsAreRight() {
    var source = SplitMix64(32)
    for n in lengths {
        let (x, y) = (source.uniform(n, -4...4), source.uniform(n))
        let wide = x.map(Double.init)

        let total = wide.map { Glibc.exp($0) }.reduce(0, +)
        let soft = onRow(x) { Kernels.softmax($0, count: n) }
        #expect(zip(soft, wide).allSatisfy { abs(Double($0) - Glibc.exp($1) / total) < 1e-6 })
        #expect(abs(Kernels.logSumExp(x, count: n) - Glibc.log(total)) < 1e-6)

        let scale = 1 / (wide.map { $0 * $0 }.reduce(0, +) / Double(n) + 1e-6).squareRoot()
        let norm = onRow(x) { Kernels.rmsNorm(x, weight: y, epsilon: 1e-6, count: n, into: $0) }
        for i in 0..<n { #expect(abs(Double(norm[i]) - wide[i] * scale * Double(y[i])) < 2e-6) }

        let gated = onRow(x) { Kernels.siluMultiply(gate: x, up: y, count: n, into: $0) }
        for i in 0..<n { #expect(abs(Double(gated[i]) - wide[i] / (1 + Glibc.exp(-wide[i])) * Double(y[i])) < 2e-6) }
        #expect(onRow(x) { Kernels.siluMultiply(gate: $0, up: y, count: n, into: $0) } == gated)

        #expect(onRow(y) { Kernels.add(x, to: $0, count: n) } == zip(x, y).map { $0 + $1 })
        #expect(onRow(y) { Kernels.axpy(0.3, x, to: $0, count: n) } == zip(x, y).map { $1.addingProduct(0.3, $0) })
    }
}

@Test("Softmax of extreme logits stays a distribution")
func softmaxExtremes() {
    let x = onRow([-.infinity, 3e38, -3e38, 3e38]) { Kernels.softmax($0, count: 4) }
    #expect(x == [0, 0.5, 0, 0.5])
}
