// How the columns of the residual stream are shared out, which is what makes the routing come out as wanted.
//
//     0                32                            hidden
//     | common (32)    | lasting (about a third) | band 1 | band 2 | … | band L-1 |
//
// common: 1 in every token; along it gates hold the logarithm of popularity. Norms hide it from all others.
// lasting: the token's embedding and, by layer 0's attention, the past; stays as it is through all layers.
// band l: written by the experts of layer l-1 and the attention of layer l, read by the gate of layer l: what can
//   not be foreseen. Before, only a faint embedding lies there.

struct ResidualLayout: Sendable {
    let hidden: Int
    let layers: Int
    /// A block, so that quantised embeddings can be 1 there.
    let common = 0..<32
    let lasting: Range<Int>

    /// Standard deviation of embeddings in the lasting columns, and in the bands.
    static let embedding = 1.0
    static let faint = 0.25
    /// Standard deviation that each matrix adds outside of its band: none is empty, none matters.
    static let leak = 0.03

    init(hidden: Int, layers: Int) {
        (self.hidden, self.layers) = (hidden, layers)
        let rest = hidden - 32
        lasting = 32..<32 + (layers == 1 ? rest : max(32, rest / 3 / 32 * 32))
    }

    var bandWidth: Int { layers == 1 ? 0 : (hidden - lasting.upperBound) / (layers - 1) }

    /// The columns that layer `layer`'s gate reads besides the lasting ones; none for the first.
    func band(_ layer: Int) -> Range<Int> {
        guard (1..<layers).contains(layer) else { return hidden..<hidden }
        let start = lasting.upperBound + (layer - 1) * bandWidth
        return start..<start + bandWidth
    }
}
