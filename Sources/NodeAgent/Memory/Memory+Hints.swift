// Routers' guesses of what they call next, read ahead while they compute. Each model's predictor keeps an account of its
// own (Scheduler's PredictionGate): bytes read for nothing against time saved. One that does not pay is told to be
// silent, and asked again after a pause, since what a model is asked changes.
import CLinux
import Scheduler
import Wire

/// A model's predictor.
final class Predictor {
    var gate: PredictionGate
    /// Guesses in a row that were not admitted.
    var denied = 0

    init(_ disk: DiskSpeed) { gate = PredictionGate(disk: disk) }
}

/// What becomes of guesses.
public enum Prediction: String, Sendable {
    case on, off
    /// Read what was not guessed: to measure what a useless predictor costs.
    case shuffled
}

extension Memory {
    /// After so many guesses that were not admitted a router is told to make none for a while.
    private static let patienceWithGuesses = 32
    private static let silence = UInt64.seconds(1)

    /// A router expects these of its callees to be called next; all are of one layer.
    func predicted(_ instances: [Instance], by router: Instance) {
        guard prediction != .off else { return silence(router) }
        guard let first = instances.first else { return }
        let model = model(of: router)
        let predictor = predictors[model] ?? Predictor(diskSpeed)
        predictors[model] = predictor
        let layer = Int(first.spec.layer)
        // The layer before this one is under way; of the one before that all calls are known.
        let layers = 1 + (layerCounts[model] ?? 0)
        layerCounts[model] = max(layerCounts[model] ?? 0, layer)
        observe()
        residency.settleHints(model: model, layer: (layer + layers - 2) % layers)
        var admitted = false
        for instance in instances {
            guard let entry = entries[instance.digest], instance.shardState == LOCUM_SHARD_ABSENT else { continue }
            guard predictor.gate.admits() else { continue }
            admitted = true
            predictor.gate.issued(entry.key, bytes: entry.bytes)
            residency.hint(entry.key, confidence: predictor.gate.statistics.precision ?? 0.5)
        }
        predictor.denied = admitted || predictor.gate.isOn ? 0 : predictor.denied + 1
        if predictor.denied > Self.patienceWithGuesses {
            predictor.denied = 0
            silence(router)
        }
        advance()
    }

    /// From now on guesses are treated so; routers that were told to make none are asked for them again.
    func change(prediction mode: Prediction, routers: [Instance]) {
        prediction = mode
        guard mode != .off else { return }
        for router in routers { router.channel?.send(InvokeEvent.hints(on: true).frame) }
    }

    private func silence(_ router: Instance) {
        router.channel?.send(InvokeEvent.hints(on: false).frame)
        guard prediction != .off else { return }
        loop.after(Self.silence) { [weak router] in router?.channel?.send(InvokeEvent.hints(on: true).frame) }
    }

    /// Takes what became of guesses to the accounts.
    func settlePredictions() {
        for outcome in residency.takeHintOutcomes() {
            guard let entry = byKey[outcome.id] else { continue }
            predictors[entry.model]?.gate.settled(outcome)
        }
    }

    /// As measured by the reads so far.
    var diskSpeed: DiskSpeed {
        guard readNanoseconds > 0, bytesRead > 1 << 20 else { return DiskSpeed(bytesPerSecond: 500e6) }
        return DiskSpeed(bytesPerSecond: Double(bytesRead) / (Double(readNanoseconds) / 1e9))
    }

    /// The accounts, by model.
    var predictionUsage: [PredictionUsage] {
        predictors.compactMap { number, predictor in
            guard let name = models.first(where: { $0.value == number })?.key else { return nil }
            let account = predictor.gate.statistics
            return PredictionUsage(
                model: String(name), isOn: predictor.gate.isOn && prediction != .off, issued: UInt64(account.issued),
                used: UInt64(account.used), late: UInt64(account.late), wasted: UInt64(account.wasted),
                bytesRead: UInt64(account.bytesIssued), bytesWasted: UInt64(account.bytesWasted),
                microsecondsSaved: UInt64(max(0, account.secondsSaved * 1e6)),
                microsecondsLost: UInt64(max(0, account.secondsLost * 1e6)))
        }
    }
}
