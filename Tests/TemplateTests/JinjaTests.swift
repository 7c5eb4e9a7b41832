// What the real thing makes of small templates: each expected text was rendered by Jinja2 3.1 with the settings
// of Hugging Face (trim_blocks, lstrip_blocks), for the same conversation.
import Template
import Testing

struct Golden: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let source: String
    let expected: String

    init(_ name: String, _ source: String, _ expected: String) {
        testDescription = name
        self.source = source
        self.expected = expected
    }
}

@Suite struct JinjaTests {
    static let goldens: [Golden] = [
        Golden("text alone", "plain } { text\n\n", "plain } { text\n"),
        Golden("a newline after a statement goes", "{% if true %}\na\n{% endif %}\nb", "a\nb"),
        Golden("blanks before a statement that begins its line go", "a\n  \t{% if true %}b{% endif %}c", "a\nbc"),
        Golden("blanks before a statement inside a line stay", "a  {% if true %} b {% endif %} c", "a   b  c"),
        Golden("blanks before an output stay", "a\n  {{ 1 }}\n  b", "a\n  1\n  b"),
        Golden(
            "a minus takes all whitespace",
            "a \n\n {%- if true -%} \n b \n {%- endif -%} \n c {{- 1 -}} \n d",
            "abc1d"),
        Golden("a plus keeps whitespace", "a\n  {%+ if true +%}\nb{% endif %}\nc", "a\n  \nbc"),
        Golden("comments behave as statements do", "a\n  {# one {{ two }} #}\nb {#- c -#} d {# e +#}\nf", "a\nbd \nf"),
        Golden("line ends of other systems", "a\r\nb\rc{% if true %}\r\nd{% endif %}\r\n", "a\nb\ncd"),
        Golden("a delimiter inside a string", "{{ '%} }} {% {{' }}{% if '%}' %}x{% endif %}", "%} }} {% {{x"),
        Golden("escapes", "{{ 'a\\n\\t\\\\\\'\\\"\\x41\\u00e9\\U0001F98A\\101\\q' }}", "a\n\t\\'\"Aé🦊A\\q"),
        Golden("strings side by side", "{{ 'a' \"b\" 'c' }}", "abc"),
        Golden("both kinds of quotes", "{{ \"it's\" + 'say \"x\"' }}", "it'ssay \"x\""),
        Golden(
            "numbers, booleans and none as text",
            "{{ 1 }}|{{ -2 }}|{{ true }}|{{ False }}|{{ none }}|{{ nothing }}",
            "1|-2|True|False|None|"),
        Golden(
            "+ before ~ and by levels",
            "{{ (1 + 2) ~ 3 * 4 ~ 'x' }}|{{ 2 + 3 * 4 - 1 }}|{{ (2 + 3) * 4 }}",
            "312x|13|20"),
        Golden(
            "division rounds down",
            "{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 % -3 }}",
            "3|-4|1|2|-2"),
        Golden(
            "comparisons",
            "{{ 1 < 2 }}|{{ 2 <= 1 }}|{{ 'a' < 'b' }}|{{ 'b' >= 'a' }}|{{ 1 > 2 }}|{{ 1 == true }}|{{ 1 == '1' }"
                + "}|{{ 'a' != 'b' }}",
            "True|False|True|True|False|True|False|True"),
        Golden(
            "and, or and not give values as Python does",
            "{{ 'a' and 'b' }}|{{ '' or 'c' }}|{{ not '' }}|{{ not (1 and 0) }}|{{ nothing or 'd' }}",
            "b|c|True|True|d"),
        Golden(
            "a chain without brackets",
            "{{ true or false and false }}|{{ not true or true }}|{{ not 1 == 2 }}",
            "True|True|True"),
        Golden(
            "in and not in",
            "{{ 'b' in 'abc' }}|{{ 'x' not in 'abc' }}|{{ 2 in [1, 2] }}|{{ 'role' in messages[0] }}|{{ 'name' i"
                + "n messages[0] }}|{{ 'a' in nothing }}|{{ '' in '' }}",
            "True|True|True|True|False|False|True"),
        Golden(
            "conditions as values",
            "{{ 'a' if 1 else 'b' }}|{{ 'a' if 0 else 'b' if '' else 'c' }}|{{ 'a' if 0 }}|{{ ('x' if 1 else 'y'"
                + ") ~ 'z' }}",
            "a|c||xz"),
        Golden(
            "tests",
            "{{ x is defined }}|{{ x is not defined }}|{{ messages is defined }}|{{ none is none }}|{{ 'a' is st"
                + "ring }}|{{ 1 is string }}|{{ true is true }}|{{ 1 is true }}|{{ false is false }}|{{ x is undefined"
                + " }}",
            "False|True|True|True|True|False|True|False|True|True"),
        Golden(
            "filters",
            "{{ ' a b ' | trim }}|{{ messages | length }}|{{ 'éa'|length }}|{{ 'Straße'|upper }}|{{ 'ÉA' | lower"
                + " }}|{{ [1,2]|count }}|{{ x | length }}",
            "a b|3|2|STRASSE|éa|2|0"),
        Golden(
            "filters bind tighter than operators",
            "{{ ' a ' + ' b ' | trim + '.' }}|{{ -1 | length if false else 'ok' }}",
            " a b.|ok"),
        Golden(
            "indexes and slices",
            "{{ messages[0].role }}|{{ messages[-1]['role'] }}|{{ messages[9] }}|{{ messages[1:]|length }}|{{ me"
                + "ssages[:-1]|length }}|{{ messages[-2:][0].role }}|{{ messages[5:]|length }}|{{ messages[2:1]|length"
                + " }}|{{ messages[:]|length }}",
            "system|assistant||2|2|user|0|0|3"),
        Golden(
            "unknown parts are undefined",
            "{{ messages[0].tool_calls }}|{{ messages[0]['name'] is defined }}|{% if messages[0].tool_calls %}a{"
                + "% else %}b{% endif %}",
            "|False|b"),
        Golden(
            "lists and tuples",
            "{{ 'b' in ('a', 'b') }}|{{ [1, 2, 3][1] }}|{{ ([1] + [2, 3])|length }}|{{ [] is defined }}|{{ (1,)|"
                + "length }}",
            "True|2|3|True|1"),
        Golden(
            "if, elif, else",
            "{% for m in messages %}{% if m.role == 'system' %}S{% elif m.role == 'user' %}U{% else %}A{% endif "
                + "%}{% endfor %}",
            "SUA"),
        Golden(
            "the parts of loop",
            "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.leng"
                + "th }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}",
            "10TrueFalse332;21FalseFalse321;32FalseTrue310;"),
        Golden(
            "loops in loops",
            "{% for a in [1, 2] %}{% for b in ['x', 'y'] %}{{ a }}{{ b }}{{ loop.index }}{% endfor %}{{ loop.ind"
                + "ex }} {% endfor %}",
            "1x11y21 2x12y22 "),
        Golden(
            "a loop over nothing",
            "{% for a in [] %}x{% else %}none{% endfor %}{% for a in nothing %}x{% else %}!{% endfor %}{% for a "
                + "in [1] %}y{% else %}z{% endfor %}",
            "none!y"),
        Golden(
            "what a loop sets ends with its turn",
            "{% set x = 1 %}{% for a in [1, 2] %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{{ a }}",
            "12121"),
        Golden("what an if sets stays", "{% if true %}{% set x = 'in' %}{% endif %}{{ x }}", "in"),
        Golden(
            "set from a list",
            "{% set rest = messages[1:] %}{% for m in rest %}{{ m.role }} {% endfor %}",
            "user assistant "),
        Golden(
            "a namespace keeps what a loop sets",
            "{% set ns = namespace(n=0, last='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
                + "{% set ns.last = m.role %}{% endfor %}{{ ns.n }} {{ ns.last }} {{ ns.none is defined }} {{ ns is defined }}",
            "3 assistant False True"),
        Golden(
            "split",
            "{{ 'a--b----c'.split('--') | length }}|{{ 'a--b'.split('--')[0] }}|{{ 'a--b'.split('--')[-1] }}|"
                + "{{ 'ab'.split('--')[0] }}|{{ ''.split('x') | length }}",
            "4|a|b|ab|1"),
        Golden(
            "strip, lstrip and rstrip",
            "{{ '\\n x \\n'.strip() }}|{{ 'xyaxy'.strip('yx') }}|{{ 'xxa '.lstrip('x') }}|{{ ' axx'.rstrip('x') }}|"
                + "{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}.|{{ 'xx'.strip('x') }}|{{ 'ähä'.strip('ä') }}",
            "x|a|a | a|a | a.||h"),
        Golden(
            "startswith and endswith",
            "{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith('bc') }}|{{ 'abc'.startswith('b') }}|"
                + "{{ 'a'.endswith('aa') }}|{{ 'a'.startswith('') }}",
            "True|True|False|False|True"),
        Golden(
            "a list the other way round",
            "{% for x in [1, 2, 3][::-1] %}{{ loop.index0 }}{{ x }}{% endfor %}|{{ [1, 2][::-1][0] }}|"
                + "{{ [1, 2, 3][::] | length }}",
            "031221|2|3"),
        Golden(
            "JSON of simple values",
            "{{ 'a\"b\\\\c\\nd\\té\\x01/<&' | tojson }}|{{ 1 | tojson }}|{{ true | tojson }}|{{ none | tojson }}",
            "\"a\\\"b\\\\c\\nd\\té\\u0001/<&\"|1|true|null"),
        Golden("special words", "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}", "<s></s>True"),
    ]

    @Test("a template gives what Jinja gives", arguments: goldens)
    func golden(golden: Golden) throws {
        let messages = [
            ChatMessage(role: "system", content: " Be brief. "), ChatMessage(role: "user", content: "Hé!"),
            ChatMessage(role: "assistant", content: ""),
        ]
        let template = try Template(Template.compile(source: golden.source))
        let segments = try template.render(
            messages: messages, addGenerationPrompt: true, bosToken: "<s>", eosToken: "</s>")
        #expect(String(decoding: segments.flatMap(\.text), as: UTF8.self) == golden.expected)
    }
}
