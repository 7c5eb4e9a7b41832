// locum-hostile: a zygote that stands in for locum-zygote beside a real locum-node and locum-control. Its workers are
// the real ones, but for those of models named `bad-ATTACK` and `once-ATTACK`: all experts (or the router) of the first
// kind misbehave as ATTACK says, of the second kind the first instance alone. Attack.swift lists the attacks.
import CProbe
import ForkServer
import Glibc
import Wire
import Worker

/// What the worker of `function` shall do instead of its work; nil: its work.
func attack(on function: String, _ runtime: FunctionRuntime) -> Attack? {
    let model = function.split(separator: "/").first ?? ""
    let parts = model.split(separator: "-", maxSplits: 1)
    guard parts.count == 2, parts[0] == "bad" || parts[0] == "once",
        let index = Attack.allCases.firstIndex(where: { $0.rawValue == parts[1] }),
        Attack.allCases[index].runtime == runtime
    else { return nil }
    if parts[0] == "once", probe_count_up(Int32(index)) > 1 { return nil }
    return Attack.allCases[index]
}

Worker.prepare()
probe_share()
ForkServer.serve(features: []) { order, descriptors, seal in
    if let attack = attack(on: order.name, order.runtime) { return HostileWorker(attack, order, descriptors).run(seal) }
    let context = WorkerContext(
        channel: descriptors.channel, shard: descriptors.shard, shardBytes: order.shardBytes,
        statusPage: descriptors.statusPage, name: order.name, runtime: order.runtime, cpus: order.cpus,
        sequences: Int(order.sequences), functionsAtOnce: Int(order.functionsAtOnce))
    return Worker.run(context, seal: seal)
}
