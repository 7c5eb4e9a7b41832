// What a deployed model costs in memory: the registry's record in the terms of the memory budget.
public import FunctionModel
public import Scheduler

extension ModelRecord {
    /// - Parameter lanes: threads of a worker.
    func memoryShape(lanes: Int) -> MemoryShape { manifest.memoryShape(lanes: lanes) }
}

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

/// The layer in a function's name.
enum FunctionLayer {
    /// `L07-E003` and `m/L07-08-E000-015` are of layer 7; 0 for a router.
    static func first(of name: String) -> Int {
        let own = name.split(separator: "/").last ?? ""
        guard own.first == "L" else { return 0 }
        return Int(own.dropFirst().prefix { $0.isNumber }) ?? 0
    }
}
