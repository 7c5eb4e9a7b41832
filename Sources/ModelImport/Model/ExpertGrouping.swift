// How experts are cut into functions: along layers first, then along experts. Layers without experts are
// not counted, so a group of two layers holds two layers of experts. The grouping decides cost and nothing
// else; the router finds experts through the map alone.
import Shard

/// The experts of one function.
struct ExpertGroup {
    let layers: [Int]
    let experts: Range<Int>

    var count: Int { layers.count * experts.count }

    /// Layer and expert by local index: layer-major.
    var members: [(layer: Int, expert: Int)] {
        layers.flatMap { layer in experts.map { (layer, $0) } }
    }

    /// `L00-E003`, `L00-E004-007`, `L00-02-E000-015`.
    var name: String {
        func padded(_ number: Int, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        func range(_ first: Int, _ last: Int, _ width: Int) -> String {
            first == last ? padded(first, width) : "\(padded(first, width))-\(padded(last, width))"
        }
        return
            "L\(range(layers.first ?? 0, layers.last ?? 0, 2))-E\(range(experts.lowerBound, experts.upperBound - 1, 3))"
    }

    /// All groups of a model, layer-major.
    /// - Parameters:
    ///   - isMoE: per layer, whether it has experts.
    ///   - layersPerFunction: and `expertsPerFunction`; 0 means all.
    static func groups(
        isMoE: [Bool], experts: Int, layersPerFunction: Int, expertsPerFunction: Int
    ) -> [ExpertGroup] {
        let layers = isMoE.indices.filter { isMoE[$0] }
        let (byLayer, byExpert) = (
            layersPerFunction == 0 ? max(1, layers.count) : layersPerFunction,
            expertsPerFunction == 0 ? experts : expertsPerFunction
        )
        var groups: [ExpertGroup] = []
        for first in stride(from: 0, to: layers.count, by: byLayer) {
            let chunk = Array(layers[first..<min(first + byLayer, layers.count)])
            for expert in stride(from: 0, to: experts, by: byExpert) {
                groups.append(ExpertGroup(layers: chunk, experts: expert..<min(expert + byExpert, experts)))
            }
        }
        return groups
    }

    /// Where each expert lives, for the router.
    static func map(_ groups: [ExpertGroup], isMoE: [Bool], experts: Int) -> FunctionMap {
        var ordinals: [Int: Int] = [:]
        for layer in isMoE.indices where isMoE[layer] { ordinals[layer] = ordinals.count }
        var places = Array(repeating: FunctionMap.Place(function: 0, local: 0), count: ordinals.count * experts)
        for (function, group) in groups.enumerated() {
            for (local, member) in group.members.enumerated() {
                if let ordinal = ordinals[member.layer] {
                    places[ordinal * experts + member.expert] = FunctionMap.Place(function: function, local: local)
                }
            }
        }
        return FunctionMap(count: groups.count, places: places)
    }
}
