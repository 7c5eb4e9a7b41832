// Chat templates: as source, from a model's authors, and as the compiled program that a router maps.
import Template

extension FuzzTarget {
    /// A template, and what a person says.
    static let template = FuzzTarget("template", longest: 8192) { bytes in
        let parts = bytes.parts(2)
        Templates.compileAndRender(parts[0].text, says: parts[1].text)
    }

    /// A compiled template.
    static let templateProgram = FuzzTarget("template-program", longest: 4096) { bytes in
        guard let template = try? Template(bytes) else { return }
        _ = try? Templates.render(template, says: "Hello")
    }
}

enum Templates {
    private static let limits = RenderLimits(steps: 20_000, outputBytes: 64 << 10)
    /// A character that no template writes, so whatever holds it came out of a message.
    private static let mark = "\u{E123}"

    static func compileAndRender(_ source: String, says: String) {
        let program: [UInt8]
        do throws(TemplateError) { program = try Template.compile(source: source) } catch {
            return precondition(
                ["template_unsupported", "template_syntax", "template_too_large"].contains(error.code), "\(error)")
        }
        do throws(TemplateError) {
            let segments = try render(try Template(program), says: says + mark)
            // A template could write the mark by itself, plainly or as an escape.
            guard !source.contains(mark), !source.contains("\\") else { return }
            for segment in segments where !segment.isUserContent {
                precondition(!segment.text.text.contains(mark), "what a person said counts as the template's words")
            }
        } catch {
            precondition(["template_raised", "template_failed", "template_limit"].contains(error.code), "\(error)")
        }
    }

    static func render(_ template: Template, says: String) throws(TemplateError) -> [Segment] {
        let segments = try template.render(
            messages: [
                ChatMessage(role: "system", content: "Be brief."), ChatMessage(role: "user", content: says),
                ChatMessage(role: "assistant", content: " ok \n"),
            ], addGenerationPrompt: true, bosToken: "<s>", eosToken: "</s>", limits: limits)
        precondition(segments.reduce(0) { $0 + $1.text.count } <= limits.outputBytes)
        precondition(!segments.contains { $0.text.isEmpty })
        precondition(zip(segments, segments.dropFirst()).allSatisfy { $0.isUserContent != $1.isUserContent })
        return segments
    }
}
