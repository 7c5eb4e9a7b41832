// The record of use: sums, hours, damage.
import FunctionModel
import GRDB
import Glibc
import Synchronization
import Testing

@testable import ControlStore

@Suite("The record of use") struct UsageTests {
    private func counts(_ number: Int64) -> UsageCounts {
        var counts = UsageCounts()
        (counts.requests, counts.promptTokens, counts.cachedTokens) = (number, 2 * number, 3 * number)
        (counts.outputTokens, counts.expertMicroseconds) = (4 * number, 5 * number)
        (counts.kilobyteMilliseconds, counts.coldStarts) = (6 * number, 7 * number)
        return counts
    }
    private let a = UsageKey(tenant: "a", model: "m", key: "k1")
    private let b = UsageKey(tenant: "b", model: "m", key: "k2")
    private let local = UsageKey(tenant: "", model: "m", key: "")

    @Test(
        "Amounts add up over the hours that are asked for, of the tenant that is, also after the file was opened again")
    func sums() throws {
        try withFolder { folder in
            let path = "\(folder)/usage.sqlite"
            let first = SQLiteUsage(path: path)
            try first.add([a: counts(1), b: counts(10)], now: 7200)
            try first.add([a: counts(2)], now: 10_799)
            first.close()
            #expect(throws: StoreError.self) { try first.add([a: counts(1)], now: 1) }
            let store = SQLiteUsage(path: path)
            try store.add([a: counts(100), local: counts(1000)], now: 10_800)
            func sums(_ tenant: String?, _ from: Int64?, _ to: Int64?) throws -> [UsageKey: UsageCounts] {
                Dictionary(uniqueKeysWithValues: try store.sums(tenant: tenant, from: from, to: to).map { ($0, $1) })
            }
            #expect(try sums(nil, nil, nil) == [a: counts(103), b: counts(10), local: counts(1000)])
            #expect(try sums("a", nil, nil) == [a: counts(103)])
            #expect(try sums("", nil, nil) == [local: counts(1000)])
            #expect(try sums(nil, 7200, 10_800) == [a: counts(3), b: counts(10)])
            #expect(try sums(nil, 7201, nil) == [a: counts(100), local: counts(1000)])
            #expect(try sums("nobody", nil, nil).isEmpty)
            // What is older than anybody asks for goes.
            try store.add([b: counts(1)], now: 10_800 + SQLiteUsage.keptSeconds)
            #expect(try sums(nil, nil, 10_800).isEmpty)
        }
    }

    @Test("Hours come day by day, and taken over they are what they were; taken over again they count once")
    func hours() throws {
        try withFolder { folder in
            let store = SQLiteUsage(path: "\(folder)/usage.sqlite")
            let day: Int64 = 86_400
            try store.add([a: counts(1), b: counts(10)], now: 7200)
            try store.add([a: counts(2)], now: 7200 + day - 3600)
            try store.add([local: counts(5)], now: 7200 + day)
            let first = try store.hours(from: 0)
            #expect(first.map(\.hour) == [7200, 7200, 7200 + day - 3600])
            #expect(first[0] == UsageHour(hour: 7200, a, counts(1)) && first[0].counts == counts(1))
            let second = try store.hours(from: 7200 + day - 3599)
            #expect(second == [UsageHour(hour: 7200 + day, local, counts(5))])
            #expect(try store.hours(from: 7200 + day + 1).isEmpty)
            let other = SQLiteUsage(path: "\(folder)/other.sqlite")
            try other.add([a: counts(7)], now: 7200)
            for _ in 0..<2 { try other.merge(first + second) }
            #expect(try other.hours(from: 0) == [UsageHour(hour: 7200, a, counts(7))] + first.dropFirst())
            #expect(try other.hours(from: 7200 + day) == second)
        }
    }

    @Test("A damaged record is set aside and a new one begun; a broken write adds nothing", arguments: [0, 2000])
    func damage(at offset: Int) throws {
        try withFolder { folder in
            let path = "\(folder)/usage.sqlite"
            let store = SQLiteUsage(path: path)
            try store.add([a: counts(1)], now: 7200)
            store.close()
            let file = open(path, O_RDWR)
            let junk = [UInt8](repeating: 0x5a, count: 8000)
            #expect(pwrite(file, junk, junk.count, off_t(offset)) == junk.count)
            close(file)
            let names = Mutex<[String]>([])
            let again = SQLiteUsage(path: path) { name in names.withLock { $0.append(name) } }
            try again.add([a: counts(2)], now: 7200)
            #expect(names.withLock { $0 } == ["\(path).damaged-1"] && access("\(path).damaged-1", F_OK) == 0)
            #expect(try again.sums(tenant: nil, from: nil, to: nil).map(\.counts) == [counts(2)])
            again.close()
        }
    }
}
