// The tree that settings and manifests are read from.
import SeededRandom
import Settings
import Testing

@Suite("YAML")
struct YAMLTests {
    private func parse(_ text: String) throws -> YAML? { try YAML.parse(Array(text.utf8), name: "x") }

    /// Everything in it, as text.
    private func flat(_ node: YAML) -> String {
        switch node.content {
        case .text(let text, let isPlain): isPlain ? "\(node.line)=\(text)" : "\(node.line)='\(text)'"
        case .list(let items): "[" + items.map(flat).joined(separator: " ") + "]"
        case .map(let pairs): "{" + pairs.map { "\($0.line):\($0.name) \(flat($0.value))" }.joined(separator: " ") + "}"
        case .unusable(let why): "!\(why)"
        }
    }

    @Test("Nested maps and lists come with their lines")
    func nested() throws {
        let root = try #require(try parse("a:\n  - b: 1\n    c: 'no'\n  - [x, y]\nd: {e: ~}\n"))
        #expect(flat(root) == "{1:a [{2:b 2=1 3:c 3='no'} [4=x 4=y]] 5:d {5:e 5=~}}")
    }

    @Test("Nothing is nothing", arguments: ["", "# only this\n", "---\n"])
    func empty(text: String) throws { #expect(try parse(text)?.isNull ?? true) }

    @Test("Aliases cannot make a file larger than it is, nor endless")
    func aliases() throws {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x]\n"
        for i in 1..<30 {
            text += "a\(i): &a\(i) [" + Array(repeating: "*a\(i - 1)", count: 8).joined(separator: ", ") + "]\n"
        }
        let shown = flat(try #require(try parse(text)))
        #expect(shown.utf8.count < 40_000 && shown.contains("!is an alias (*); write out what it stands for"))
        #expect(flat(try #require(try parse("a: &a [*a]\n"))).contains("!is an alias"))
    }

    @Test("Deep nesting is refused, with its line")
    func deep() {
        let text = "# deep\na: " + String(repeating: "[", count: 500) + String(repeating: "]", count: 500)
        #expect { try parse(text) } throws: { "\($0)" == "x:2: this is nested more than 8 deep; write it flatter" }
    }

    @Test(
        "A file full of brackets, of dashes or of anchors ends", arguments: ["[", "{", "- ", "? ", "&a ", "a: ", "'"])
    func full(of text: String) {
        let bytes = Array(repeating: Array(text.utf8), count: (1 << 20) / text.utf8.count).joined()
        if let root = try? YAML.parse(Array(bytes), name: "x") { #expect(flat(root).utf8.count < 4 << 20) }
    }

    @Test("Bytes that were bent are read or refused")
    func bent() throws {
        var random = SplitMix64(11)
        let sound = Array(
            "models:\n  - name: a # x\n    file: 'b c'\n    list: [1, {x: \"y\\n\"}]\n  - &n {a: *n}\ntenants: ~\n? |\n  q\n: >\n  z\n"
                .utf8)
        var refused = 0
        for _ in 0..<5000 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[at] = .random(in: 0...255, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(sound.randomElement(using: &random) ?? 0, at: at)
                }
            }
            do throws(SettingsError) {
                if let root = try YAML.parse(bytes, name: "x") { _ = flat(root) }
            } catch {
                refused += 1
                #expect(error.problems.count == 1)
            }
        }
        #expect(refused > 100 && refused < 5000)
    }

    @Test("What is no YAML names its line", arguments: ["a: 1\nb: [\n", "a: 1\n\tb: 2\n", "a: 1\n'b\n"])
    func broken(text: String) {
        #expect { try parse(text) } throws: { "\($0)".hasPrefix("x:") && "\($0)".contains(": this is no YAML: ") }
    }
}
