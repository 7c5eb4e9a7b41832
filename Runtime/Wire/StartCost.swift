// Where the time of a first token goes. Each process measures what it waits for itself; the parts add up on the way back
// to the client.

/// What starting processes cost somebody who waited for them.
public struct StartCost: Sendable, Equatable {
    /// Nanoseconds until the processes were there: deciding, room in the memory budget, forking.
    public var spawn: UInt64
    /// Until they were ready: sandbox, mapping, checks.
    public var map: UInt64
    /// Until shards were read from disk.
    public var read: UInt64

    public init(spawn: UInt64 = 0, map: UInt64 = 0, read: UInt64 = 0) {
        (self.spawn, self.map, self.read) = (spawn, map, read)
    }

    /// - Parameters:
    ///   - wall: nanoseconds of waiting for links.
    ///   - grants: what came; of several that started side by side the slowest counts.
    public init(wall: UInt64, _ grants: some Sequence<LinkGrant>) {
        var slowest: (map: UInt64, read: UInt64) = (0, 0)
        for grant in grants {
            let (map, read) = (UInt64(grant.mapMicroseconds) * 1000, UInt64(grant.readMicroseconds) * 1000)
            if map + read > slowest.map + slowest.read { slowest = (map, read) }
        }
        map = min(slowest.map, wall)
        read = min(slowest.read, wall - map)
        spawn = wall - map - read
    }

    public var total: UInt64 { spawn + map + read }

    public static func + (a: Self, b: Self) -> Self {
        Self(spawn: a.spawn + b.spawn, map: a.map + b.map, read: a.read + b.read)
    }
    public static func - (a: Self, b: Self) -> Self {
        Self(spawn: a.spawn - b.spawn, map: a.map - b.map, read: a.read - b.read)
    }
}

/// The parts of the time to a sequence's first token, in microseconds.
public struct FirstToken: WireMessage, Equatable {
    /// Waiting for a turn and for memory.
    public var queue: UInt32
    /// As in `StartCost`, of the router and of the experts that it called.
    public var spawn, map, read: UInt32
    /// Everything else: the prompt's forward passes.
    public var compute: UInt32

    public init(queue: UInt32 = 0, spawn: UInt32 = 0, map: UInt32 = 0, read: UInt32 = 0, compute: UInt32 = 0) {
        (self.queue, self.spawn, self.map, self.read, self.compute) = (queue, spawn, map, read, compute)
    }

    /// - Parameters: nanoseconds in all, and of waiting for a turn.
    public init(total: UInt64, queue: UInt64, _ cost: StartCost) {
        func microseconds(_ nanoseconds: UInt64) -> UInt32 { UInt32(clamping: nanoseconds / 1000) }
        let known = queue + cost.total
        self.init(
            queue: microseconds(queue), spawn: microseconds(cost.spawn), map: microseconds(cost.map),
            read: microseconds(cost.read), compute: microseconds(total > known ? total - known : 0))
    }

    public var total: UInt64 { UInt64(queue) + UInt64(spawn) + UInt64(map) + UInt64(read) + UInt64(compute) }

    public func encode(into w: inout WireWriter) {
        for part in [queue, spawn, map, read, compute] { w.integer(part) }
    }

    public init(from r: inout WireReader) throws(WireError) {
        queue = try r.integer()
        spawn = try r.integer()
        map = try r.integer()
        read = try r.integer()
        compute = try r.integer()
    }
}
