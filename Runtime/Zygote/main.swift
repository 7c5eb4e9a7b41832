// locum-zygote: a fork server whose children are workers. Static, single-threaded, without Foundation,
// Dispatch or concurrency, so that forking it is cheap and safe. Everything is in modules ForkServer and Worker.
import ForkServer
import Wire
import Worker

Worker.prepare()
ForkServer.serve(features: [Feature(name: "kernels", state: Worker.instructionSet)]) { order, descriptors, seal in
    let context = WorkerContext(
        channel: descriptors.channel, shard: descriptors.shard, shardBytes: order.shardBytes,
        statusPage: descriptors.statusPage, name: order.name, runtime: order.runtime, cpus: order.cpus,
        sequences: Int(order.sequences), functionsAtOnce: Int(order.functionsAtOnce))
    return Worker.run(context, seal: seal)
}
