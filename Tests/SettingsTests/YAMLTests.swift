// The tree that settings and manifests are read from.
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

    @Test("Deep nesting ends")
    func deep() throws {
        let shown = flat(
            try #require(try parse(String(repeating: "[", count: 500) + String(repeating: "]", count: 500))))
        #expect(shown.contains("!is nested too deeply") && shown.utf8.count < 100)
    }

    @Test("What is no YAML names its line", arguments: ["a: 1\nb: [\n", "a: 1\n\tb: 2\n", "a: 1\n'b\n"])
    func broken(text: String) {
        #expect { try parse(text) } throws: { "\($0)".hasPrefix("x:") && "\($0)".contains(": this is no YAML: ") }
    }
}
