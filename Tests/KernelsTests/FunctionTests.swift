// Functions of one number against glibc's, and the rotary embedding.
import Glibc
import Kernels
import SeededRandom
import Testing

/// |a - b| in units of the last place of b.
private func ulps(_ a: Double, _ b: Double) -> Double { a == b ? 0 : abs(a - b) / b.ulp }

@Test("exp in f32 is within 1 ulp, and its ends are infinity, subnormals and 0")
func expOfFloats() {
    var source = SplitMix64(1)
    var worst = 0.0
    for _ in 0..<400_000 {
        let x = Float.random(in: -103...88.7, using: &source)
        let exact = Glibc.exp(Double(x))
        worst = max(worst, abs(Double(Kernels.exp(x)) - exact) / Double(Float(exact).ulp))
    }
    #expect(worst < 1)
    #expect(Kernels.exp(Float(0)) == 1)
    #expect(Kernels.exp(Float(89)) == .infinity)
    #expect(Kernels.exp(Float.infinity) == .infinity)
    #expect(Kernels.exp(-Float.infinity) == 0)
    #expect(Kernels.exp(Float(-100)).isSubnormal)
    #expect(Kernels.exp(Float.nan).isNaN)
    #expect(Kernels.sigmoid(0) == 0.5)
    #expect(Kernels.sigmoid(-200) == 0)
    #expect(Kernels.sigmoid(200) == 1)
}

@Test("exp and log in f64 are within 1 ulp of glibc's")
func expAndLog() {
    var source = SplitMix64(2)
    var worst = (exp: 0.0, log: 0.0, near: 0.0)
    for _ in 0..<400_000 {
        let x = Double.random(in: -708...709, using: &source)
        worst.exp = max(worst.exp, ulps(Kernels.exp(x), Glibc.exp(x)))
        let bits = UInt64.random(in: 1..<0x7ff0_0000_0000_0000, using: &source)
        worst.log = max(worst.log, ulps(Kernels.log(Double(bitPattern: bits)), Glibc.log(Double(bitPattern: bits))))
        let y = Double.random(in: 0.5...2, using: &source)
        worst.near = max(worst.near, ulps(Kernels.log(y), Glibc.log(y)))
    }
    #expect(worst.exp <= 1)
    #expect(worst.log <= 1)
    #expect(worst.near <= 1)
    #expect(Kernels.exp(-745.0).isSubnormal)
    #expect(Kernels.exp(-750.0) == 0)
    #expect(Kernels.exp(710.0) == .infinity)
    #expect(Kernels.log(1) == 0)
    #expect(Kernels.log(0) == -.infinity)
    #expect(Kernels.log(.infinity) == .infinity)
    #expect(Kernels.log(-1).isNaN)
    #expect(Kernels.log(.leastNonzeroMagnitude) == Glibc.log(.leastNonzeroMagnitude))
}

@Test("sin and cos are within 2^-52 up to 2^20, and NaN beyond")
func sinAndCos() {
    var source = SplitMix64(3)
    var worst = 0.0
    for round in 0..<400_000 {
        let x = Double.random(in: -1...1, using: &source) * (round % 2 == 0 ? 0x1p20 : 7)
        worst = max(worst, abs(Kernels.sin(x) - Glibc.sin(x)), abs(Kernels.cos(x) - Glibc.cos(x)))
    }
    // Multiples of pi/2, where reduction loses most.
    for n in stride(from: 1, to: 660_000, by: 37) {
        let x = Double(n) * 1.5707963267948966
        worst = max(worst, abs(Kernels.sin(x) - Glibc.sin(x)), abs(Kernels.cos(x) - Glibc.cos(x)))
    }
    #expect(worst <= 0x1p-52)
    #expect(Kernels.sin(0) == 0 && Kernels.cos(0) == 1)
    #expect(Kernels.sin(2e6).isNaN && Kernels.cos(.infinity).isNaN)
}

@Test("pow is as precise as promised")
func powers() {
    var source = SplitMix64(4)
    for _ in 0..<200_000 {
        let x = Kernels.exp(Double.random(in: -20...20, using: &source))
        let y = Double.random(in: -10...10, using: &source)
        let exact = Glibc.pow(x, y)
        #expect(abs(Kernels.pow(x, y) / exact - 1) <= (abs(y * Glibc.log(x)) + 2) * 0x1p-52)
    }
    #expect(Kernels.pow(-1, 0) == 1 && Kernels.pow(1, 5) == 1 && Kernels.pow(-2, 2).isNaN)
}

@Test("The rotary table is glibc's cosine and sine of the f32 angle, and rotation keeps lengths")
func rotaryEmbedding() {
    for (theta, position) in [(10_000.0, 0), (10_000, 7), (1_000_000, 4095), (1_000_000, 1_000_000)] {
        var (cos, sin) = ([Float](repeating: 0, count: 32), [Float](repeating: 0, count: 32))
        let frequencies = (0..<32).map { Float(Kernels.pow(theta, -Double(2 * $0) / 64)) }
        Kernels.ropeTable(frequencies: frequencies, scale: 1, position: position, cos: &cos, sin: &sin)
        for i in 0..<32 {
            let angle = Double(Float(position) * Float(Glibc.pow(theta, -Double(2 * i) / 64)))
            #expect(abs(Double(cos[i]) - Glibc.cos(angle)) < 1e-7)
            #expect(abs(Double(sin[i]) - Glibc.sin(angle)) < 1e-7)
        }
        var source = SplitMix64(UInt64(position))
        let before = source.uniform(64)
        var after = before
        Kernels.rope(&after, headDim: 64, cos: cos, sin: sin)
        for i in 0..<32 {
            let length = { (x: [Float]) in x[i] * x[i] + x[i + 32] * x[i + 32] }
            #expect(abs(length(before) - length(after)) < 1e-5)
            #expect(abs(after[i] - (before[i] * cos[i] - before[i + 32] * sin[i])) < 1e-6)
            #expect(abs(after[i + 32] - (before[i + 32] * cos[i] + before[i] * sin[i])) < 1e-6)
        }
    }
}
