// What comes over HTTP: bodies, the bytes of a connection, and the answers that are made of a router's events, which a
// router that was taken over may choose.
import Wire

@testable import Gateway

extension FuzzTarget {
    /// A request's body at every route that takes one.
    static let request = FuzzTarget("request", longest: 4096) { bytes in
        let value: JSONValue
        do throws(JSONSyntaxError) { value = try JSONReader.read(bytes) } catch {
            return precondition(error.line >= 1 && error.column >= 1 && error.column <= bytes.count + 1)
        }
        precondition((try? JSONReader.read(Array(value.text.utf8))) == value, "it is written as something else")
        do throws(APIError) {
            _ = try RequestFields(value).string("target")?.percentDecoded
            let request = try CompletionRequest(value)
            carry(request.specs)
            _ = CompletionAnswer(request, created: 0).whole.text
        } catch {
            _ = error.body.text
        }
        do throws(APIError) {
            let request = try ChatRequest(value)
            carry(request.specs)
            _ = ChatAnswer(request, created: 0).whole.text
        } catch {
            _ = error.body.text
        }
    }

    /// What was asked reaches the router as it was meant.
    private static func carry(_ specs: [GenerateSpec]) {
        for spec in specs {
            let command = RouterCommand.generate(spec)
            precondition((try? RouterCommand(frame: command.frame)) == command)
        }
    }

    /// A byte of what was asked for, then events of two choices, each behind its choice and its length.
    static let answer = FuzzTarget("answer", longest: 4096) { bytes in
        let (asked, rest) = bytes.chosen
        func flag(_ bit: UInt8) -> JSONValue { .bool(asked & bit != 0) }
        var body: JSONValue = [
            "model": "m", "prompt": "p", "n": 2, "echo": flag(1), "return_tokens_as_token_ids": flag(2), "logprobs": 1,
            "stream": true, "stream_options": ["include_usage": flag(4)],
        ]
        if let request = try? CompletionRequest(body) { play(rest, CompletionAnswer(request, created: 0)) }
        body = [
            "model": "m", "messages": [["role": "user", "content": "p"]], "n": 2, "logprobs": flag(1),
            "stream": flag(2),
        ]
        if let request = try? ChatRequest(body) { play(rest, ChatAnswer(request, created: 0)) }
    }

    private static func play(_ bytes: [UInt8], _ answer: some Answer) {
        var (answer, rest) = (answer, bytes[...])
        while let choice = rest.popFirst(), let length = rest.popFirst() {
            let frame = Array(rest.prefix(Int(length)))
            rest = rest.dropFirst(Int(length))
            guard let event = try? RouterEvent(frame: frame) else { continue }
            if let error = APIError(event) { check(error.body) }
            for chunk in answer.add(Int(choice % 2), event) { check(chunk) }
        }
        check(answer.whole)
        if let usage = answer.head.usageChunk("k") { check(usage) }
    }

    private static func check(_ value: JSONValue) {
        precondition((try? JSONReader.read(Array(value.text.utf8))) != nil, "an answer is no JSON: \(value.text)")
    }
}
