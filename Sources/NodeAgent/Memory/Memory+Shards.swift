// Shards in memory: who is told to read, who to drop. The decision is the residency machine's (module Scheduler); this
// file carries it out on the words of the status pages and tells the machine what became of it.
//
// A shard counts from the moment its reading is granted until the kernel says that its pages are gone: dropped by all
// instances, then by the page cache, and asked for with mincore.
import CLinux
import Scheduler
import ShardStore
import Wire

extension Memory {
    /// A worker that has not dropped its shard by then is ended.
    private static let patience = UInt64.seconds(2)

    /// A shard that was read for a first call is kept for it that long.
    private static let courtesy = UInt64.milliseconds(500)

    // MARK: What instances do

    /// A new instance: its function is wanted by whoever had it started.
    func attach(_ instance: Instance) {
        let entry = entries[instance.digest] ?? make(instance)
        entry.instances.append(instance)
        watches.append(CallWatch(instance: instance.id, key: entry.key, page: UnsafePointer(instance.statusPage)))
        want(entry, for: instance)
    }

    private func make(_ instance: Instance) -> ShardEntry {
        let entry = ShardEntry(
            key: nextKey, digest: instance.digest, bytes: MemoryCost.pages(instance.shardBytes),
            model: model(of: instance))
        nextKey += 1
        if instance.spec.runtime == .expert { largestExpert = max(largestExpert, entry.bytes) }
        entries[entry.digest] = entry
        byKey[entry.key] = entry
        residency.add(
            entry.key, bytes: entry.bytes, model: entry.model, layer: Int(instance.spec.layer),
            pinned: instance.spec.runtime == .router)
        return entry
    }

    func model(of instance: Instance) -> Int {
        let name = instance.spec.name.prefix { $0 != "/" }
        let number = models[name] ?? models.count
        models[name] = number
        return number
    }

    /// A call waits for the shard.
    func need(_ instance: Instance) {
        guard let entry = entries[instance.digest] else { return }
        if !residency.isResident(entry.key) { entry.isCalled = true }
        want(entry, for: instance)
    }

    private func want(_ entry: ShardEntry, for instance: Instance) {
        if residency.isResident(entry.key) {
            // Another instance has it in memory.
            _ = grant(entry, to: instance)
        } else {
            residency.want(entry.key)
            advance()
        }
    }

    /// Its shard is waited for, or was read for a call that is about to come.
    func isWanted(_ instance: Instance) -> Bool {
        entries[instance.digest].map { residency.isWanted($0.key) } ?? false
    }

    func loaded(_ instance: Instance, _ nanoseconds: UInt64) {
        guard let entry = entries[instance.digest], entry.loader == instance.id else { return }
        bytesRead += UInt64(entry.bytes)
        readNanoseconds &+= nanoseconds
        if instance.state == .starting { instance.readNanoseconds = nanoseconds }
        entry.loader = nil
        residency.loaded(entry.key)
        if instance.isActive || entry.isCalled {
            // A call that waited for it may have been answered before node heard of the reading.
            entry.isCalled = false
            residency.served(entry.key)
        } else {
            // Started for a caller that has not called yet: kept for it, but not for ever.
            loop.after(Self.courtesy) { [weak self, weak entry] in
                if let self, let entry, entries[entry.digest] === entry { settleWant(entry.key) }
            }
        }
        grantOthers(entry)
        advance()
    }

    /// It is in memory: whoever else waits for it maps what is there.
    private func grantOthers(_ entry: ShardEntry) {
        for other in entry.instances where other.waitsForShard {
            _ = grant(entry, to: other)
        }
    }

    /// Nobody waits for this shard any more, unless it left meanwhile and is waited for again.
    private func settleWant(_ key: UInt64) {
        if residency.isResident(key), residency.served(key) { advance() }
    }

    /// The shard cannot be read by this instance.
    func unreadable(_ instance: Instance) {
        guard let entry = entries[instance.digest], entry.loader == instance.id else { return }
        readFailed(entry)
        advance()
    }

    /// Whoever else waits for it tries by itself.
    private func readFailed(_ entry: ShardEntry) {
        entry.loader = nil
        store.releasePages(of: entry.digest)
        residency.failed(entry.key)
        for other in entry.instances where other.waitsForShard {
            residency.want(entry.key)
        }
    }

    func dropped(_ instance: Instance) {
        guard let entry = entries[instance.digest], entry.leaving.remove(instance.id) != nil else { return }
        settle(entry)
    }

    /// A call came before the instance dropped it: it is in use again.
    func kept(_ instance: Instance) {
        guard let entry = entries[instance.digest], entry.leaving.remove(instance.id) != nil else { return }
        // Others that map it drop it all the same, and map it again at their next call.
        entry.isKept = true
        settle(entry)
    }

    /// The instance's process is gone, and with it its mapping.
    func detach(_ instance: Instance) {
        guard let entry = entries[instance.digest] else { return }
        entry.instances.removeAll { $0 === instance }
        watches.removeAll { $0.instance == instance.id }
        if entry.instances.isEmpty {
            loop.cancel(entry.patience)
            store.releasePages(of: entry.digest)
            entries[entry.digest] = nil
            byKey[entry.key] = nil
            residency.remove(entry.key)
        } else {
            if entry.loader == instance.id { readFailed(entry) }
            if entry.leaving.remove(instance.id) != nil { settle(entry) }
        }
        advance()
    }

    // MARK: What the machine decides

    /// Carries out what can be done now. Called through `advance`.
    func moveShards() {
        // Who waits for what there is room for waits for nothing else.
        carryOut(residency.startWanted())
        if residency.hasToDecide {
            observe()
            while true {
                let actions = residency.next { [byKey] key in
                    byKey[key]?.instances.contains(where: \.usesShard) ?? false
                }
                if actions.isEmpty { break }
                carryOut(actions)
            }
        }
        settlePredictions()
    }

    private func carryOut(_ actions: [Residency<LocumPolicy>.Action]) {
        for action in actions {
            switch action {
            case .load(let key): load(key)
            case .evict(let key): evict(key)
            case .cannot(let key): refuse(key)
            }
        }
    }

    /// Reports the calls since the last look, in the order of their time.
    func observe() {
        var seen: [(at: UInt64, key: UInt64, times: UInt64)] = []
        for index in watches.indices {
            let count = locum_status_invocations(watches[index].page)
            let before = watches[index].reported
            guard count > before else { continue }
            watches[index].reported = count
            seen.append((locum_status_read(watches[index].page).last_active_ns, watches[index].key, count - before))
        }
        seen.sort { $0.at < $1.at }
        for access in seen {
            residency.accessed(access.key, times: Int(clamping: access.times))
            if residency.isResident(access.key) { residency.served(access.key) }
        }
    }

    private func load(_ key: UInt64) {
        guard let entry = byKey[key] else { return }
        let absent = entry.instances.filter { $0.shardState == LOCUM_SHARD_ABSENT }
        guard let instance = absent.first(where: \.isActive) ?? absent.first, grant(entry, to: instance) else {
            residency.failed(key)
            return
        }
        entry.loader = instance.id
    }

    /// Has an instance read the shard, or map what another has read. A call that waits sees the word change; an
    /// instance at rest is told.
    private func grant(_ entry: ShardEntry, to instance: Instance) -> Bool {
        guard instance.moveShard(from: LOCUM_SHARD_ABSENT, to: LOCUM_SHARD_GRANTED) else { return false }
        if !instance.isActive { instance.channel?.send(InvokeEvent.settle.frame) }
        return true
    }

    private func evict(_ key: UInt64) {
        guard let entry = byKey[key] else { return }
        for instance in entry.instances where instance.moveShard(from: LOCUM_SHARD_RESIDENT, to: LOCUM_SHARD_LEAVING) {
            // A call that began before the word changed may be reading: it keeps its pages. If it has looked since, it
            // says so itself.
            if instance.isActive, instance.moveShard(from: LOCUM_SHARD_LEAVING, to: LOCUM_SHARD_RESIDENT) {
                entry.isKept = true
                continue
            }
            entry.leaving.insert(instance.id)
            instance.channel?.send(InvokeEvent.settle.frame)
        }
        guard !entry.leaving.isEmpty else { return settle(entry) }
        entry.patience = loop.after(Self.patience) { [weak self, weak entry] in
            guard let self, let entry else { return }
            for instance in entry.instances where entry.leaving.contains(instance.id) {
                end(instance, "it did not let go of its shard's pages")
            }
        }
    }

    /// All instances have dropped it: the page cache lets go, and the kernel is asked whether it did.
    private func settle(_ entry: ShardEntry, pause: UInt64 = 1) {
        guard entry.leaving.isEmpty else { return }
        loop.cancel(entry.patience)
        entry.patience = nil
        if entry.isKept {
            entry.isKept = false
            residency.kept(entry.key)
            grantOthers(entry)
            return advance()
        }
        if store.releasePages(of: entry.digest) > 0 {
            // Being read by somebody else (`locum verify`), or on a list of the kernel's that it empties in a moment.
            entry.patience = loop.after(.milliseconds(pause)) { [weak self, weak entry] in
                if let entry { self?.settle(entry, pause: min(100, 2 * pause)) }
            }
            return
        }
        residency.evicted(entry.key)
        advance()
    }

    /// It does not fit beside what is pinned. Processes and idle routers that are in the way are ended; it waits for that.
    private func refuse(_ key: UInt64) {
        guard let entry = byKey[key] else { return }
        guard entry.bytes > mostShardBytes else {
            postponed.insert(key)
            return
        }
        for instance in entry.instances {
            end(instance, "its shard of \(entry.bytes) bytes does not fit into the memory budget of \(total) bytes")
        }
    }

    /// Wants again what did not fit and may now.
    func wantAgain() {
        for key in postponed {
            guard let entry = byKey[key] else {
                postponed.remove(key)
                continue
            }
            if entry.bytes <= residency.budget - residency.pinned {
                postponed.remove(key)
                residency.want(key)
            } else if !isReclaiming {
                endIdle(entry.bytes, false)
            }
        }
    }
}
