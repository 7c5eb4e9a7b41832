// Node as a service: what the service manager hears of it. The beat is a timer of node's one thread, so it stops when
// anything in that thread does, and the manager starts node again.
public import Systemd
import Wire

extension Node {
    /// Tells `notifier` from now on how node is: ready once the zygote is up, or is known to fail.
    public func report(to notifier: Notifier) {
        manager = notifier
        beat(Heartbeat(notifier))
        reportReady()
    }

    func reportReady() {
        guard let manager, features != nil, !isReported else { return }
        isReported = true
        manager.ready()
    }

    /// Puts settings into force that were read again.
    /// - Parameter settings: reads them, and answers what has changed, in words for the log.
    public func reload(_ settings: () throws -> (prediction: Prediction, changes: [String])) {
        manager?.reloading()
        do {
            let (prediction, changes) = try settings()
            memory.change(prediction: prediction, routers: instances.all.filter { $0.spec.runtime == .router })
            log(
                "the settings were read again: "
                    + (changes.isEmpty ? "nothing has changed" : changes.joined(separator: "; ")))
        } catch {
            log("the settings were read again and are wrong, so nothing is changed: \(error)")
        }
        if isReported { manager?.ready() }
    }

    private func beat(_ heartbeat: Heartbeat) {
        guard state == .running, let pause = heartbeat.pause else { return }
        var heartbeat = heartbeat
        heartbeat.beat(words)
        loop.after(pause) { [weak self, heartbeat] in self?.beat(heartbeat) }
    }

    /// For `systemctl status`.
    private var words: String {
        let up = instances.all.count { $0.state == .ready }
        let (used, budget) = (memory.usage.used >> 20, memory.usage.budget >> 20)
        let control = self.control == nil ? "; waiting for locum-control" : ""
        return "\(up) \(up == 1 ? "function" : "functions") up, \(used) of \(budget) MB\(control)"
    }
}
