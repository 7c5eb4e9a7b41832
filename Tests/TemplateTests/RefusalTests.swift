// What is refused when a model is deployed: by line, and by the construct's name.
import Template
import Testing

struct Refusal: Sendable, CustomTestStringConvertible {
    let source: String
    let line: Int
    let mention: String
    let code: String

    init(_ source: String, line: Int = 1, _ mention: String, _ code: String = "template_unsupported") {
        self.source = source
        self.line = line
        self.mention = mention
        self.code = code
    }

    var testDescription: String { mention }
}

@Suite struct RefusalTests {
    static let refusals: [Refusal] = [
        Refusal("a\nb\n{% macro f(x) %}{% endmacro %}", line: 3, "macro"),
        Refusal("{% call f() %}{% endcall %}", "call"),
        Refusal("{% filter upper %}a{% endfilter %}", "filter"),
        Refusal("{% include 'x' %}", "include"),
        Refusal("{% import 'x' as y %}", "import"),
        Refusal("{% from 'x' import y %}", "from"),
        Refusal("{% extends 'x' %}", "extends"),
        Refusal("{% block x %}{% endblock %}", "block"),
        Refusal("{% with x = 1 %}{% endwith %}", "with"),
        Refusal("{% raw %}{{ }}{% endraw %}", "raw"),
        Refusal("{% generation %}{% endgeneration %}", "generation"),
        Refusal("{% for m in messages %}\n{% break %}{% endfor %}", line: 2, "break"),
        Refusal("{% frobnicate %}", "the statement 'frobnicate'"),
        Refusal("{% for a, b in messages %}{% endfor %}", "a loop over several variables"),
        Refusal("{% for a in messages if a %}{% endfor %}", "a loop with a condition"),
        Refusal("{% for a in messages recursive %}{% endfor %}", "a recursive loop"),
        Refusal("{% set a, b = 1, 2 %}", "several variables"),
        Refusal("{% set a %}x{% endset %}", "a set block"),
        Refusal("\n\n{{ dict(x=1) }}", line: 3, "the function dict()"),
        Refusal("{{ strftime_now('%Y') }}", "the function strftime_now()"),
        Refusal("{{ range(3) }}", "the function range()"),
        Refusal("{{ messages[0].content.replace('x', 'y') }}", "the method replace()"),
        Refusal("{{ 'a b'.split() }}", "the method split() without an argument"),
        Refusal("{{ 'a b'.split(' ', 1) }}", "the method split() with several arguments"),
        Refusal("{{ ('a')() }}", "a call of a value"),
        Refusal("{{ messages | list }}", "the filter 'list'"),
        Refusal("{{ 'a' | trim('b') }}", "the filter 'trim' with arguments"),
        Refusal("{{ 1 is odd }}", "the test 'is odd'"),
        Refusal("{{ loop.cycle('a', 'b') }}", "loop.cycle"),
        Refusal("{{ loop }}", "'loop' without a part"),
        Refusal("{{ {'a': 1} }}", "a dictionary"),
        Refusal("{{ 1.5 }}", "a number other than a plain integer"),
        Refusal("{{ 99999999999 }}", "the large number 99999999999"),
        Refusal("{{ 1 / 2 }}", "the operator /"),
        Refusal("{{ 2 ** 3 }}", "the operator **"),
        Refusal("{{ 1 < 2 < 3 }}", "a chain of comparisons"),
        Refusal("{{ messages[::2] }}", "a slice with a step"),
        Refusal("{{ messages[1::-1] }}", "a slice with a step"),
        Refusal(#"{{ '\N{DASH}' }}"#, #"\N"#),
        Refusal("{{ +1 }}", "a plus sign"),
        Refusal("{{ 'a", "the string that begins here has no end", "template_syntax"),
        Refusal("a\n{{ 'a' ", line: 2, "the '{{' that begins here has no end", "template_syntax"),
        Refusal("\n{% if x", line: 2, "the '{%' that begins here has no end", "template_syntax"),
        Refusal("a {# b\n\n", "the comment that begins here has no end", "template_syntax"),
        Refusal(
            "{% if x %}a\n\n", line: 1, "the statement that begins here has no elif or else or endif", "template_syntax"
        ),
        Refusal("{% for x in y %}a", "the statement that begins here has no else or endfor", "template_syntax"),
        Refusal("a\n{% endif %}", line: 2, "'endif' has nothing to belong to", "template_syntax"),
        Refusal("{% else %}", "'else' has nothing to belong to", "template_syntax"),
        Refusal("{% if x %}{% endfor %}", "'endfor' has nothing to belong to", "template_syntax"),
        Refusal("{{ }}", "a value expected, but there is '}}'", "template_syntax"),
        Refusal("{{ 1 + }}", "a value expected", "template_syntax"),
        Refusal("{{ 1 + not (2) }}", "a value expected, but there is 'not'", "template_syntax"),
        Refusal("{{ (1 }}", "no end", "template_syntax"),
        Refusal("{{ a b }}", "'}}' expected, but there is 'b'", "template_syntax"),
        Refusal("{% set loop = 1 %}", "'loop' cannot be assigned to", "template_syntax"),
        Refusal("{% for true in x %}{% endfor %}", "'true' cannot be assigned to", "template_syntax"),
        Refusal("{% %}", "a name expected, but there is '%}'", "template_syntax"),
        Refusal("{{ a ? b }}", "unexpected character '?'", "template_syntax"),
        Refusal(#"{{ '\ud83d' }}"#, #"'\ud83d' is not a character"#, "template_syntax"),
    ]

    @Test("what is not known is refused by line and name", arguments: refusals)
    func refused(refusal: Refusal) {
        #expect {
            try Template.compile(source: refusal.source)
        } throws: { error in
            guard let error = error as? TemplateError else { return false }
            return error.code == refusal.code && error.message.contains(refusal.mention)
                && error.message.contains("line \(refusal.line): ")
        }
    }

    static let nestings: [String] = [
        String(repeating: "(", count: 50_000),
        String(repeating: "[", count: 50_000),
        String(repeating: "not ", count: 20_000) + "1",
        String(repeating: "-", count: 20_000) + "1",
        String(repeating: "1 if 1 else ", count: 20_000) + "1",
        String(repeating: "a[", count: 50_000),
    ]

    @Test("deep nesting is refused and does not overflow the stack", arguments: nestings.indices)
    func deep(index: Int) {
        #expect(throws: TemplateError.self) { try Template.compile(source: "{{ " + Self.nestings[index] + " }}") }
    }

    @Test("deep nesting of statements is refused and does not overflow the stack")
    func deepStatements() {
        for begin in ["{% if 1 %}", "{% for a in b %}", "{% if 1 %}{% else %}"] {
            let source = String(repeating: begin, count: 10_000)
            #expect(throws: TemplateError.self) { try Template.compile(source: source) }
        }
    }

    @Test("a template longer than 256 KiB is refused, one of 200 KiB is not")
    func long() throws {
        #expect {
            try Template.compile(source: String(repeating: "a", count: 256 << 10 | 1))
        } throws: { error in
            (error as? TemplateError)?.code == "template_too_large"
        }
        let long = String(repeating: "{{ 'a' + 'b' }}{% if x %}c{% elif y %}d{% endif %}\n", count: 4000)
        #expect(try !Template.compile(source: long).isEmpty)
    }
}
