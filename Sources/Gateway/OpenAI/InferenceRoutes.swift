// The routes that both listeners have: models, completions, chat.
import ControlPlane
import FunctionModel
import Glibc
import HTTPTypes
import Hummingbird
import NIOCore
import Wire

/// OpenAI's API on the control plane.
struct InferenceRoutes: Sendable {
    let control: any ControlService
    let metrics: RequestMetrics

    func add(to router: Router<GatewayContext>) {
        router.route("/health", [.get: { _, _ in .json(["status": "ok"]) }])
        router.route("/v1/models", [.get: { _, context in await models(context) }])
        router.route("/v1/models/:model", [.get: { _, context in try await model(context) }])
        post("/v1/completions", to: router) { body in
            let parsed = try CompletionRequest(body)
            return Asked(
                parsed.common, parsed.specs, CompletionAnswer(parsed, created: Self.now()), CompletionAnswer.kind)
        }
        post("/v1/chat/completions", to: router) { body in
            let parsed = try ChatRequest(body)
            return Asked(parsed.common, parsed.specs, ChatAnswer(parsed, created: Self.now()), ChatAnswer.chunkKind)
        }
    }

    /// What a request asks, and the form that its answer takes.
    private struct Asked<A: Answer> {
        let fields: GenerationFields
        let specs: [GenerateSpec]
        let answer: A
        /// `object` of a stream's chunks.
        let kind: String

        init(_ fields: GenerationFields, _ specs: [GenerateSpec], _ answer: A, _ kind: String) {
            (self.fields, self.specs, self.answer, self.kind) = (fields, specs, answer, kind)
        }
    }

    private func post(
        _ path: String, to router: Router<GatewayContext>,
        _ parse: @escaping @Sendable (JSONValue) throws -> Asked<some Answer>
    ) {
        router.route(
            path,
            [
                .post: { request, context in
                    let asked = try parse(await request.jsonBody(context))
                    return try await respond(asked.fields, asked.specs, asked.answer, kind: asked.kind, context)
                }
            ])
    }

    private static func now() -> Int64 { Int64(time(nil)) }

    private func models(_ context: GatewayContext) async -> Response {
        let list = await control.models(for: context.caller).map { Self.entry($0.name, $0.deployedAt) }
        return .json(["object": "list", "data": .array(list)])
    }

    private func model(_ context: GatewayContext) async throws -> Response {
        let name = try context.modelName()
        let model = try await control.describe(name, for: context.caller)
        return .json(Self.entry(name, model.deployedAt))
    }

    private static func entry(_ name: String, _ created: Int64) -> JSONValue {
        ["id": .string(name), "object": "model", "created": .integer(created), "owned_by": "locum"]
    }

    private func respond(
        _ common: GenerationFields, _ specs: [GenerateSpec], _ answer: some Answer, kind: String,
        _ context: GatewayContext
    ) async throws -> Response {
        guard let watch = await context.watchClient() else { throw APIError.clientGone }
        let model = try await control.find(common.model, for: context.caller)
        var specs = specs
        for index in specs.indices { specs[index].request = RequestID.current }
        let meter = SequenceMeter(metrics, context.caller, model: model)
        let choices = ChoiceEvents(try await control.generate(model, specs, for: context.caller), meter)
        watch.onLeave { choices.cancel() }
        guard common.stream else {
            defer { watch.clear() }
            let whole = try await Self.collect(choices, answer)
            var response = Response.json(whole.whole)
            response.headers.add(whole.head.firstToken)
            response.headers.add(control.allowance(of: context.caller))
            return response
        }
        let early = try await Self.untilFirstToken(choices)
        var response = EventStream.response(after: early.firstToken) { writer in
            defer { watch.clear() }
            try await Self.stream(choices, early: early.events, answer, kind: kind, into: &writer)
        }
        response.headers.add(control.allowance(of: context.caller))
        return response
    }

    /// Until the first token nothing is sent, so that what goes wrong before has its own status, and the head can say
    /// what the token took.
    private static func untilFirstToken(
        _ choices: ChoiceEvents
    ) async throws -> (events: [ChoiceEvents.Element], firstToken: FirstToken?) {
        var events: [ChoiceEvents.Element] = []
        for await element in choices.events {
            events.append(element)
            if let error = APIError(element.event) {
                choices.cancel()
                throw error
            }
            switch element.event {
            case .firstToken(let parts): return (events, parts)
            case .token, .finished: return (events, nil)
            case .started, .promptScores, .failed, .trace, .routes, .used: break
            }
        }
        throw APIError.clientGone
    }

    private static func collect<A: Answer>(_ choices: ChoiceEvents, _ answer: A) async throws -> A {
        var answer = answer
        for await (choice, event) in choices.events {
            if let error = APIError(event) {
                choices.cancel()
                throw error
            }
            _ = answer.add(choice, event)
        }
        guard answer.head.isComplete else { throw APIError.clientGone }
        return answer
    }

    private static func stream(
        _ choices: ChoiceEvents, early: [ChoiceEvents.Element], _ answer: some Answer, kind: String,
        into writer: inout EventStream
    ) async throws {
        var answer = answer
        for (choice, event) in early { try await writer.send(answer.add(choice, event)) }
        for await (choice, event) in choices.events {
            if let error = APIError(event) {
                choices.cancel()
                return try await writer.send([error.body])
            }
            try await writer.send(answer.add(choice, event))
        }
        // Not complete: the client left, nobody reads on.
        guard answer.head.isComplete else { return }
        if let usage = answer.head.usageChunk(kind) { try await writer.send([usage]) }
        try await writer.done()
    }
}
