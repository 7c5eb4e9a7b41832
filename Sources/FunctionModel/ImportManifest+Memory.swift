// What a model costs in memory: its manifest in the terms of the memory budget.
public import Scheduler

extension ImportManifest {
    /// - Parameter lanes: threads of a worker.
    public func memoryShape(lanes: Int) -> MemoryShape {
        let expertFunctions = functions.dropFirst().map { (bytes: $0.bytes, layer: FunctionLayer.first(of: $0.name)) }
        let perLayer = Dictionary(grouping: expertFunctions, by: \.layer).values.map(\.count).max() ?? 0
        return MemoryShape(
            routerShard: functions.first?.bytes ?? 0, functions: Array(expertFunctions),
            functionsPerLayer: min(expertsPerToken, perLayer), routerOverhead: routerOverhead,
            sequenceBytesPerToken: sequenceBytesPerToken, context: context, lanes: lanes)
    }
}

/// What a function's name tells.
public enum FunctionLayer {
    /// `L07-E003` and `m/L07-08-E000-015` begin with layer 7; 0 for a router.
    public static func first(of name: String) -> Int { ranges(of: name).layers.lowerBound }

    /// Layers and experts in a function: `L07-08-E000-015` holds experts 0 to 15 of layers 7 and 8. Both are 0 for a
    /// router.
    public static func ranges(of name: String) -> (layers: ClosedRange<Int>, experts: ClosedRange<Int>) {
        let own = name.split(separator: "/").last ?? ""
        let halves = own.split(separator: "E", maxSplits: 1)
        guard own.first == "L", halves.count == 2 else { return (0...0, 0...0) }
        func range(_ text: Substring) -> ClosedRange<Int> {
            let numbers = text.split(separator: "-").compactMap { Int($0) }
            guard let first = numbers.first, let last = numbers.last, first <= last else { return 0...0 }
            return first...last
        }
        return (range(halves[0].dropFirst()), range(halves[1]))
    }
}
