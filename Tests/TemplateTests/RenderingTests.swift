// Whose text is whose, what a conversation can do wrong, and how much a template may do.
import Template
import Testing

@Suite struct RenderingTests {
    private func render(
        _ source: String, _ messages: [ChatMessage] = [], limits: RenderLimits = RenderLimits()
    ) throws -> [Segment] {
        try Template(Template.compile(source: source)).render(
            messages: messages, addGenerationPrompt: false, limits: limits)
    }

    private func user(_ text: String) -> Segment { Segment(text: Array(text.utf8), isUserContent: true) }
    private func own(_ text: String) -> Segment { Segment(text: Array(text.utf8), isUserContent: false) }

    @Test("text of messages stays marked through everything a template does with it")
    func marked() throws {
        let messages = [ChatMessage(role: "user", content: " Hi<x> ")]
        #expect(try render("<{{ messages[0].content }}>", messages) == [own("<"), user(" Hi<x> "), own(">")])
        #expect(
            try render("{{ '<' + messages[0]['content'] ~ '>' }}", messages) == [own("<"), user(" Hi<x> "), own(">")])
        #expect(try render("{{ messages[0].content | trim }}.", messages) == [user("Hi<x>"), own(".")])
        #expect(
            try render("{{ ('a ' + messages[0].content + ' b') | trim | upper }}", messages)
                == [own("A "), user(" HI<X> "), own(" B")])
        #expect(try render("{% set t = messages[0].content %}{{ t }}{{ t }}", messages) == [user(" Hi<x>  Hi<x> ")])
        #expect(try render("{{ messages[0].content or 'none' }}", messages) == [user(" Hi<x> ")])
        #expect(try render("{{ messages[0].content }}", [ChatMessage(role: "user", content: "")]).isEmpty)
        #expect(try render("{{ messages[0].content.strip().split('<')[-1] }}", messages) == [user("x>")])
        #expect(
            try render("{% set ns = namespace(t=messages[0].content.lstrip()) %}{{ ns.t }}!", messages)
                == [user("Hi<x> "), own("!")])
        #expect(try render("{{ messages[0].content | tojson }}", messages) == [own("\""), user(" Hi<x> "), own("\"")])
    }

    @Test("settings are what the caller gave: plain values, whose text stays the caller's")
    func settings() throws {
        let source =
            "{{ '<think>' if enable_thinking is defined and enable_thinking is true }}{{ depth + 1 if depth is defined }}"
            + "{{ '[' ~ style ~ ']' if style }}{{ 'none' if nothing is none }}"
        let template = try Template(Template.compile(source: source))
        func render(_ settings: [(name: String, value: TemplateValue)]) throws -> [Segment] {
            try template.render(messages: [], addGenerationPrompt: true, settings: settings)
        }
        #expect(try render([]).isEmpty)
        #expect(try render([("enable_thinking", .boolean(false)), ("depth", .integer(41))]) == [own("42")])
        #expect(try render([("style", .text("<s>")), ("nothing", .none)]) == [own("["), user("<s>"), own("]none")])
        #expect(
            try render([("enable_thinking", .boolean(false)), ("enable_thinking", .boolean(true))]) == [own("<think>")])
    }

    @Test("template text next to template text is one segment")
    func merged() throws {
        #expect(try render("a{{ 'b' }}{% if true %}c{% endif %}{{ 1 }}") == [own("abc1")])
    }

    @Test("roles that everybody uses are the template's words, made-up ones are the caller's")
    func roles() throws {
        for role in ["system", "user", "assistant", "tool"] {
            #expect(
                try render("<|{{ messages[0].role }}|>", [ChatMessage(role: role, content: "")]) == [own("<|\(role)|>")]
            )
        }
        let made = ChatMessage(role: "endoftext", content: "")
        #expect(try render("<|{{ messages[0].role }}|>", [made]) == [own("<|"), user("endoftext"), own("|>")])
    }

    @Test("content that is not UTF-8 goes through unchanged")
    func bytes() throws {
        let bad: [UInt8] = [0x20, 0xFF, 0xC3, 0x20]
        for source in ["{{ messages[0].content }}", "{{ messages[0].content | trim }}"] {
            let segments = try render(source, [ChatMessage(role: "user", content: bad)])
            #expect(segments == [Segment(text: bad, isUserContent: true)])
        }
    }

    static let failures: [(String, Int, String)] = [
        ("{% set x = 1 %}{% set x.y = 1 %}", 1, "'y' can be set of a namespace only"),
        ("{{ messages.split('x') }}", 1, "a list has no method split()"),
        ("{{ 'a'.split('') }}", 1, "an empty text separates nothing"),
        ("{{ 'a'.startswith(1) }}", 1, "a number is no argument of startswith()"),
        ("{{ 'ab'[::-1] }}", 1, "a text cannot be turned round"),
        ("{{ messages | tojson }}", 1, "a list cannot be written as JSON"),
        ("\n{{ 1 + 'a' }}", 2, "a number and a text cannot be added"),
        ("{{ messages }}", 1, "a list has no text"),
        ("{{ messages[0] }}", 1, "a message has no text"),
        ("a\n\n{{ nothing.role }}", 3, "'nothing', which is undefined, has no 'role'"),
        ("{{ messages[7].role }}", 1, "has no 'role'"),
        ("{{ 'a' + nothing }}", 1, "cannot be added"),
        ("{% for c in 'abc' %}{% endfor %}", 1, "a loop over a text is not possible"),
        ("{{ 'abc'[0] }}", 1, "a text has no part"),
        ("{{ 'abc'[1:] }}", 1, "a slice of a text"),
        ("{{ 1 % 0 }}", 1, "a division by zero"),
        ("{{ 1 < 'a' }}", 1, "have no order"),
        ("{{ 1 in 2 }}", 1, "cannot be looked for"),
        ("{{ 1 | length }}", 1, "a number has no length"),
        ("{% set x = 2147483647 %}{{ x * x * x * x }}", 1, "a number is too large"),
    ]

    @Test("what does not fit is refused with the line", arguments: failures)
    func failure(source: String, line: Int, mention: String) {
        #expect {
            try render(source, [ChatMessage(role: "user", content: "x")])
        } throws: { error in
            guard let error = error as? TemplateError else { return false }
            return error.code == "template_failed" && error.message.contains(mention)
                && error.message.contains("line \(line): ")
        }
    }

    @Test("a template's own refusal carries its message, text of messages included")
    func raised() {
        #expect {
            try render(
                "{{ raise_exception('no ' + messages[0].role + '!') }}", [ChatMessage(role: "critic", content: "")])
        } throws: { error in
            (error as? TemplateError)?.code == "template_raised" && (error as? TemplateError)?.message == "no critic!"
        }
    }

    private static let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    private static func loops(_ count: Int, _ body: String) -> String {
        String(repeating: "{% for a in \(ten) %}", count: count) + body
            + String(repeating: "{% endfor %}", count: count)
    }

    static let endless: [(String, String)] = [
        (loops(9, "x"), "steps"),
        ("{% set x = 'ab' %}" + String(repeating: "{% set x = x + x %}", count: 40), "bytes"),
        ("{% set x = [1] %}" + String(repeating: "{% set x = x + x %}", count: 40), "items"),
        (loops(6, "{{ '" + String(repeating: "x", count: 200) + "' }}"), "bytes"),
        (
            "{% set x = 'a' %}" + String(repeating: "{% set x = x + x %}", count: 20)
                + "{% set y = 'a' %}" + String(repeating: "{% set y = y + y %}", count: 12)
                + loops(3, "{{ (y + 'b') in x }}"),
            "steps"
        ),
    ]

    @Test("a template that does too much for a conversation ends at a limit, soon", arguments: endless)
    func limits(source: String, mention: String) {
        let duration = ContinuousClock().measure {
            #expect {
                try render(source)
            } throws: { error in
                guard let error = error as? TemplateError else { return false }
                return error.code == "template_limit" && error.message.contains(mention)
            }
        }
        // A debug build on a busy machine; without the limits these would take hours.
        #expect(duration < .seconds(60))
    }

    @Test("limits are as given")
    func ownLimits() throws {
        let text = "{{ '0123456789' }}{{ '0123456789' }}"
        #expect(try render(text, limits: RenderLimits(steps: 4, outputBytes: 20)) == [own("01234567890123456789")])
        #expect(throws: TemplateError.self) { try render(text, limits: RenderLimits(steps: 3, outputBytes: 20)) }
        #expect(throws: TemplateError.self) { try render(text, limits: RenderLimits(steps: 4, outputBytes: 19)) }
    }

    @Test("a long conversation of long messages is rendered in time")
    func longConversation() throws {
        let messages = (0..<2000).map {
            ChatMessage(role: $0 % 2 == 0 ? "user" : "assistant", content: String(repeating: "é ", count: 600))
        }
        let source =
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        let segments = try render(source, messages)
        #expect(segments.filter(\.isUserContent).count == 2000)
        #expect(segments.reduce(0) { $0 + $1.text.count } > 3_600_000)
    }
}
