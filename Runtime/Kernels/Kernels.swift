// The kernels as Swift sees them: thin functions over CKernels, which documents the arithmetic. Pointers stay
// pointers: callers hold shards, arenas and scratch that live for the whole call and are sized by the functions
// of WeightFormat and KVFormat. Nothing allocates.
import CKernels

/// Functions on rows of activations and on single numbers. All give the same bits on every CPU.
public enum Kernels {
    /// Chooses the widest instruction set this CPU has, or the one that LOCUM_ISA names. Once, before the fork.
    public static func initialize() { lk_init() }

    /// The instruction set in force: "scalar", "avx2", "avxvnni", "avx512" or "neon".
    public static var instructionSet: String { String(cString: lk_isa()) }

    /// Puts the named instruction set in force; false if there is none of that name or the CPU lacks it.
    @discardableResult
    public static func select(instructionSet: String) -> Bool { lk_select(instructionSet) == 0 }

    /// y += x, `count` elements: a bias or a residual.
    public static func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        lk_add(y, x, count)
    }

    /// y = a * x + y, fused, `count` elements: an expert's share of the sum.
    public static func axpy(
        _ a: Float, _ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int
    ) {
        lk_axpy(y, a, x, count)
    }

    /// out = weight * x / sqrt(mean(x^2) + epsilon); `out` may be `x`.
    public static func rmsNorm(
        _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, epsilon: Float, count: Int,
        into out: UnsafeMutablePointer<Float>
    ) {
        lk_rmsnorm(x, weight, epsilon, count, out)
    }

    /// x = softmax(x).
    public static func softmax(_ x: UnsafeMutablePointer<Float>, count: Int) { lk_softmax(x, count) }

    /// log(sum(exp(x))): a token's log-probability is its logit minus this.
    public static func logSumExp(_ x: UnsafePointer<Float>, count: Int) -> Double { lk_log_sum_exp(x, count) }

    /// out = silu(gate) * up; `out` may be either of them.
    public static func siluMultiply(
        gate: UnsafePointer<Float>, up: UnsafePointer<Float>, count: Int, into out: UnsafeMutablePointer<Float>
    ) {
        lk_silu_mul(gate, up, count, out)
    }

    /// 1 / (1 + exp(-x)).
    public static func sigmoid(_ x: Float) -> Float { lk_sigmoid(x) }

    /// e^x, within 1 ulp.
    public static func exp(_ x: Float) -> Float { lk_expf(x) }

    /// e^x, within 1 ulp.
    public static func exp(_ x: Double) -> Double { lk_exp(x) }

    /// Natural logarithm, within 1 ulp.
    public static func log(_ x: Double) -> Double { lk_log(x) }

    /// Sine for |x| <= 2^20, else NaN.
    public static func sin(_ x: Double) -> Double { lk_sin(x) }

    /// Cosine for |x| <= 2^20, else NaN.
    public static func cos(_ x: Double) -> Double { lk_cos(x) }

    /// x^y for positive x.
    public static func pow(_ x: Double, _ y: Double) -> Double { lk_pow(x, y) }

    /// cos and sin (headDim/2,) of the rotary embedding at a position below 2^20, times a factor, from the frequencies of
    /// its pairs (headDim/2,) in radians per position, at most 1.
    public static func ropeTable(
        frequencies: [Float], scale: Float, position: Int, cos: UnsafeMutablePointer<Float>,
        sin: UnsafeMutablePointer<Float>
    ) {
        lk_rope_table(frequencies, frequencies.count, scale, position, cos, sin)
    }

    /// Rotates the pairs (i, i + headDim/2) of one head (headDim,) in place.
    public static func rope(
        _ x: UnsafeMutablePointer<Float>, headDim: Int, cos: UnsafePointer<Float>, sin: UnsafePointer<Float>
    ) {
        lk_rope(x, headDim, cos, sin)
    }
}
