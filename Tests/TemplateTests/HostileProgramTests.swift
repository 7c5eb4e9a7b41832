// A compiled template comes from a shard; whatever its bytes, opening it throws or gives one whose rendering
// ends: with a text, or with an error.
import Template
import SeededRandom
import Testing

@Suite struct HostileProgramTests {
    private static let source = """
        {% for m in messages %}{% if loop.first and m.role != 'system' %}{{ 'no' ~ loop.index }}{% elif m is defined %}
        {{ m.content | trim | upper }}{% else %}{{ -1 + 2 * 3 % 4 }}{% endif %}{{ [1, m][0] }}{% endfor %}
        {% set ns = namespace(a=1, b=messages) %}{% set ns.a = 'a,b'.split(',')[-1].lstrip('b') %}{{ ns.a | tojson }}
        {% for m in ns.b[::-1] %}{{ m.content.strip() }}{{ m.content.startswith('b') }}{% endfor %}
        {% set x = messages[1:-1] %}{{ x | length }}{{ 'a' in 'ab' and not 1 > 2 or (1 if x else 2) }}
        """

    private func exercise(_ template: Template) {
        let messages = [ChatMessage(role: "system", content: " a "), ChatMessage(role: "user", content: "b\u{FF}")]
        _ = try? template.render(
            messages: messages, addGenerationPrompt: true, bosToken: "<s>",
            limits: RenderLimits(steps: 5000, outputBytes: 10_000))
    }

    @Test("a program cut off anywhere is refused")
    func truncated() throws {
        let blob = try Template.compile(source: Self.source)
        for length in 0..<blob.count {
            #expect(throws: TemplateError.self) { try Template(Array(blob[..<length])) }
        }
        #expect(throws: TemplateError.self) { try Template(blob + [0]) }
    }

    @Test("a program with any byte changed, in four ways, is refused or harmless")
    func flipped() throws {
        let blob = try Template.compile(source: Self.source)
        var refused = 0
        for index in blob.indices {
            for mask: UInt8 in [0xFF, 0x01, 0x10, 0x80] {
                var bad = blob
                bad[index] ^= mask
                if let template = try? Template(bad) { exercise(template) } else { refused += 1 }
            }
        }
        #expect(refused > blob.count)
    }

    @Test("programs of random instructions are refused or harmless")
    func noise() throws {
        var random = SplitMix64(107)
        var opened = 0
        for _ in 0..<3000 {
            var bad = Array("LOCUMTP1".utf8) + [1, 0, 0, 0, 1, 0, 0, 0]
            let count = UInt8.random(in: 1...60, using: &random)
            bad += [count, 0, 0, 0, 4, 0, 0, 0] + Array("role".utf8)
            for _ in 0..<count {
                let operand = Bool.random(using: &random) ? 0 : Int32.random(in: -8...8, using: &random)
                bad += [UInt8.random(in: 1...47, using: &random), 1, 0, 0]
                bad += (0..<4).map { UInt8(truncatingIfNeeded: operand >> (8 * $0)) }
            }
            if let template = try? Template(bad) {
                opened += 1
                exercise(template)
            }
        }
        #expect(opened > 0)
    }

    @Test("lists in lists without end are refused, not let go of level by level until the stack is full")
    func nestedLists() throws {
        let level = "{%set x=[x]%}"
        let source = try Template.compile(source: "{%set x=[]%}" + String(repeating: level, count: 20_000))
        // Back from behind the level to its beginning, which no template says.
        var endless = try Template.compile(source: "{%set x=[]%}" + level)
        endless[16] += 1
        endless += [31, 1, 0, 0, 0xFC, 0xFF, 0xFF, 0xFF]
        for program in [source, endless] {
            let template = try Template(program)
            let error = #expect(throws: TemplateError.self) {
                try template.render(messages: [], addGenerationPrompt: false)
            }
            #expect(error?.code == "template_limit")
            #expect(error?.message.contains("nests lists") == true)
        }
    }

    @Test("a program is opened from mapped memory as well")
    func mapped() throws {
        let template = try Template.compile(source: "{{ 'a' }}").withUnsafeBytes { try Template($0) }
        #expect(try template.render(messages: [], addGenerationPrompt: false).map(\.text) == [Array("a".utf8)])
    }
}
