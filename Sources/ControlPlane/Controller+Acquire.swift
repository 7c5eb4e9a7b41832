// A caller asks for functions, node has no instance of some: control resolves, decides, starts. Everything is
// decided within one turn of the actor, so two callers that ask for one function at once get one instance.
import ControlStore
import FunctionModel
import Logging
import Scheduler
import Wire

extension Controller {
    /// Instance numbers taken from the store at once. Enough for years, so that a disk that has become full meanwhile
    /// does not keep instances from starting.
    static let numbersPerReservation = 1 << 24

    /// - Parameters:
    ///   - peer: the user behind caller 0, a connection.
    ///   - behalf: the HTTP requests that want them, for the log.
    func acquire(
        _ request: UInt32, caller: UInt64, peer: UInt32, names: [String], functions ids: [UInt64],
        behalf: [RequestID] = []
    ) {
        do throws(ControlFailure) {
            let tenant = caller == 0 ? tenants?.caller(ofUser: peer) : nil
            let functions =
                try names.map { name throws(ControlFailure) in try resolve(name, for: tenant) }
                + ids.map { id throws(ControlFailure) in try resolve(id, caller: caller, for: tenant) }
            guard !functions.isEmpty else {
                throw ControlFailure(code: "bad_request", message: "no function was named")
            }
            var commands: [NodeCommand] = []
            var started: [String] = []
            for function in functions {
                if table.live(function: function.id) == nil {
                    commands.append(.spawn(try start(function)))
                    started.append(function.name)
                } else {
                    statistics.warmAcquisitions += 1
                }
            }
            commands.append(.granted(request: request, functions: functions.map(\.id)))
            send(commands)
            if !started.isEmpty, !behalf.isEmpty { tell(started, behalf) }
        } catch {
            send([.denied(request: request, code: error.code, message: error.message)])
        }
        keepWatch()
    }

    /// Functions that a line of the log names.
    private static let mostNamed = 8

    private func tell(_ started: [String], _ behalf: [RequestID]) {
        let more = started.count > Self.mostNamed ? " and \(started.count - Self.mostNamed) more" : ""
        let requests = behalf.map { Logger.MetadataValue.string($0.text) }
        logger.info(
            "starts \(started.prefix(Self.mostNamed).joined(separator: ", "))\(more)",
            metadata: ["request": requests.count == 1 ? requests[0] : .array(requests)])
    }

    private func resolve(_ name: String, for tenant: Caller?) throws(ControlFailure) -> FunctionRecord {
        if let tenant { return try function(name, for: tenant) }
        guard let function = catalog.resolve(name) else { throw unknown("function", name) }
        return function
    }

    private func resolve(
        _ id: UInt64, caller: UInt64, for tenant: Caller?
    ) throws(ControlFailure) -> FunctionRecord {
        // Node checked the caller's list already; a router's rights are control's to know all the same. Caller 0 is a
        // connection, which may name any function, and did.
        guard caller == 0 || table[caller]?.callees.contains(id) == true else {
            throw ControlFailure(code: "denied", message: "instance \(caller) may not invoke function \(id)")
        }
        guard let function = catalog.function(id) else {
            throw ControlFailure(code: "not_found", message: "function \(id) was removed")
        }
        // What a tenant may use can have changed since it named it.
        if let tenant, !mayInvoke(function, tenant) { throw Self.noFunction(function.name) }
        return function
    }

    /// The error for a name that nothing has, with names that resemble it.
    func unknown(_ kind: String, _ name: String) -> ControlFailure {
        let near = catalog.nearest(to: name)
        let hint =
            near.isEmpty ? "`locum list` shows what is deployed" : "did you mean \(near.joined(separator: ", "))?"
        return ControlFailure(code: "not_found", message: "no \(kind) is named \(name); \(hint)")
    }

    private func start(_ function: FunctionRecord) throws(ControlFailure) -> InstanceSpec {
        if let refusal = crashLoops.refusal(function.id, now: now()) {
            throw ControlFailure(code: "crashed", message: "\(function.name) is not started: \(refusal)")
        }
        let id = try instanceNumber()
        let callees = catalog.callees(of: function)
        do throws(TransitionError) {
            try table.start(id, of: function, callees: callees, now: now())
        } catch {
            throw ControlFailure(code: "unavailable", message: "\(error)")
        }
        statistics.coldStarts += 1
        habits[function.id, default: KeepAlive()].arrived(at: now())
        var spec = InstanceSpec(
            instance: id, function: function.id, name: function.name,
            runtime: function.runtime == .router ? .router : .expert, digest: function.digest, lanes: settings.lanes,
            callees: callees, layer: UInt16(clamping: FunctionLayer.first(of: function.name)))
        switch function.runtime {
        case .expert: spec.overhead = UInt64(MemoryCost.worker(lanes: Int(settings.lanes)))
        case .router: provide(for: function, &spec)
        }
        return spec
    }

    /// What a router is to have room for: its process, its sequences, and at any time one layer's functions.
    private func provide(for router: FunctionRecord, _ spec: inout InstanceSpec) {
        spec.sequences = UInt16(clamping: settings.sequences + settings.spareSequences)
        guard let manifest = catalog.model(router.model)?.manifest else { return }
        let shape = manifest.memoryShape(lanes: Int(settings.lanes))
        spec.overhead = UInt64(max(0, manifest.routerOverhead))
        spec.workingSet = UInt64(MemoryCost.workingSet(shape))
        spec.longestSequence = UInt64(max(0, shape.sequenceBytesPerToken * shape.context))
        guard memory.budget > 0 else { return }
        spec.functionsAtOnce = UInt16(
            clamping: MemoryCost.functionsAtOnce(
                shape, budget: Int(clamping: memory.budget), sequences: settings.sequences))
    }

    private func instanceNumber() throws(ControlFailure) -> UInt64 {
        if instanceNumbers.isEmpty {
            do throws(StoreError) { instanceNumbers = try store.reserveInstances(Self.numbersPerReservation) } catch {
                throw ControlFailure(code: error.code, message: error.message)
            }
        }
        defer { instanceNumbers = instanceNumbers.dropFirst() }
        return instanceNumbers.lowerBound
    }
}
