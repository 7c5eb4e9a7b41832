// Settings from a file, the environment and flags, and what of them a running daemon takes over.
import Glibc
import Settings
import Testing

@Suite("Settings")
struct SettingsTests {
    /// Settings of a file with this text.
    private func read(
        _ text: String, environment: [String: String] = [:]
    ) throws -> (settings: ServiceSettings, path: String) {
        var template = Array("/tmp/locum-settings-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            close(descriptor)
            unlink(path)
        }
        let bytes = Array(text.utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
        do throws(SettingsError) {
            return (try ServiceSettings.read(path) { environment[$0] }, path)
        } catch {
            // Without what differs from test to test.
            throw SettingsError(error.problems.map { $0.replacing(path, with: "FILE") })
        }
    }

    private func problems(_ text: String, environment: [String: String] = [:]) -> [String] {
        do {
            _ = try read(text, environment: environment)
            return []
        } catch let error as SettingsError {
            return error.problems
        } catch {
            return ["\(error)"]
        }
    }

    @Test("What is nearer wins, and each setting knows where it was given")
    func precedence() throws {
        let text = "# mine\nmemory: 3G\nthreads: 2\nidle-timeout: 5s\n"
        var (settings, path) = try read(text, environment: ["LOCUM_THREADS": "3", "LOCUM_IDLE_TIMEOUT": "6s"])
        try settings.set("idle-timeout", "7s", .flag("--idle-timeout"))
        #expect(settings.memory == 3 << 30 && settings.origin("memory") == .file(path, line: 2))
        #expect(settings.threads == 3 && settings.origin("threads") == .variable("LOCUM_THREADS"))
        #expect(settings.idleMilliseconds == 7000 && settings.origin("idle-timeout") == .flag("--idle-timeout"))
        #expect(settings.listen == nil && settings.origin("listen") == nil)
    }

    @Test("Without a word the daemons do what the table says")
    func standards() throws {
        let settings = try read("memory: ~\nlisten:\n# nothing\n").settings
        #expect(settings.memory == nil && settings.idleMilliseconds == nil && settings.threads == nil)
        #expect(!settings.isInsecure && settings.prediction == "on" && settings.tls == nil)
        #expect(settings.drainMilliseconds == 30_000 && settings.keepSessionsMilliseconds == 0)
        #expect(try read("").settings["memory"] == nil)
        for setting in Setting.all { #expect(settings[setting.name] == nil && !setting.standard.isEmpty) }
    }

    @Test("Everything that is wrong is said at once, each with its place")
    func allProblems() {
        let text = "memory: 3 gigs\nmemroy: 3G\nthreads: 0\nthreads: 2\nlisten: [1]\nidle-timeout: -1s\n"
        let found = problems(text, environment: ["LOCUM_PREDICTION": "maybe", "LOCUM_MEMORY": ""])
        #expect(found.count == 7)
        for expected in [
            "FILE:1: memory: '3 gigs' cannot be used; write a number of bytes", "FILE:2: there is no setting 'memroy'",
            "FILE:3: threads: '0' cannot be used", "FILE:4: threads stands in line 3 already",
            "FILE:5: listen must have one value", "FILE:6: idle-timeout: '-1s' cannot be used",
            "LOCUM_PREDICTION: 'maybe' cannot be used; write on or off",
        ] {
            #expect(found.contains { $0.hasPrefix(expected) }, "\(expected) in \(found)")
        }
    }

    @Test("Of a thousand faults the first twenty are shown")
    func manyProblems() {
        let found = problems((0..<1000).map { "a\($0): 1\n" }.joined())
        #expect(found.count == 1000)
        #expect(SettingsError(found).description.split(separator: "\n").count == 21)
        #expect(SettingsError(found).description.hasSuffix("\nand 980 more"))
    }

    @Test(
        "A file that is no mapping of names to values is refused",
        arguments: [
            ("- memory\n", "settings are lines like"), ("memory", "settings are lines like"),
            ("memory: 'x\n", "this is no YAML"), ("memory: 3G\n---\nthreads: 2\n", "second document"),
            ("memory: &a 3G\nlisten: *a\n", "listen must have one value"), ("? [a]\n: 1\n", "settings are lines like"),
            ("memory: &a [*a]\n", "memory must have one value"),
        ])
    func noMapping(text: String, reason: String) {
        #expect(problems(text).contains { $0.contains(reason) }, "\(problems(text))")
    }

    @Test("TLS takes both files, and paths from the root on")
    func tls() throws {
        let one = try read("tls-certificate: /etc/x.pem\n")
        #expect(throws: SettingsError.self) { try one.settings.check() }
        #expect(problems("tls-certificate: x.pem\n").first?.contains("write a file's path from / on") == true)
        let both = try read("tls-certificate: /x\ntls-key: /y\n").settings
        try both.check()
        #expect(both.tls?.certificate == "/x" && both.tls?.key == "/y")
    }

    @Test("A daemon takes over its own settings that can change, and names those that take a restart, again and again")
    func reload() throws {
        var settings = try read("listen: 127.0.0.1:1\nidle-timeout: 5s\nmemory: 1G\nprediction: on\n").settings
        let new = try read("listen: 127.0.0.1:2\nmemory: 2G\nprediction: off\ndrain-timeout: 1s\n").settings
        let words = settings.take(new, for: .control)
        #expect(
            words == [
                "listen was 127.0.0.1:1, is 127.0.0.1:2: that takes a restart of locum-control",
                "idle-timeout was 5s, is learned from each function's own calls, 30s as long as nothing is known",
                "drain-timeout was 30s, is 1s",
            ])
        #expect(settings.idleMilliseconds == nil && settings.drainMilliseconds == 1000)
        #expect(settings.listen?.port == 1 && settings.prediction == "on")
        #expect(settings.take(new, for: .control).count == 1)
        #expect(
            settings.take(new, for: .node) == [
                "memory was 1G, is 2G: that takes a restart of locum-node", "prediction was on, is off",
            ])
    }

    @Test("TLS files can change while control runs, TLS itself cannot")
    func reloadTLS() throws {
        let none = try read("").settings
        let first = try read("tls-certificate: /x\ntls-key: /y\n").settings
        let second = try read("tls-certificate: /z\ntls-key: /y\n").settings
        var settings = first
        #expect(settings.take(second, for: .control) == ["tls-certificate was /x, is /z"])
        #expect(settings.tls?.certificate == "/z")
        settings = first
        #expect(settings.take(none, for: .control).allSatisfy { $0.hasSuffix("that takes a restart of locum-control") })
        #expect(settings.tls?.certificate == "/x")
    }

    @Test("A source that is read twice keeps its flags on top")
    func source() throws {
        let source = SettingsSource(flags: [("threads", "2"), ("threads", "3")])
        #expect(try source.read().threads == 3)
        let wrong = SettingsSource(flags: [("threads", "many"), ("memory", "x"), ("nonsense", "y")])
        #expect(throws: SettingsError.self) { try wrong.read() }
        do { _ = try wrong.read() } catch { #expect(error.problems.count == 3) }
    }
}
