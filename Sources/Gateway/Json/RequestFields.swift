// Typed reading of a request's members. Every error names the parameter by its path, as OpenAI's `param` does.
// Null counts as absent; members that nobody asks for are ignored.

/// The members of a JSON object in a request.
struct RequestFields {
    let value: JSONValue
    /// Where the object stands, empty for the body itself.
    let path: String

    /// - Throws: `APIError` 400 when it is not an object.
    init(_ value: JSONValue, path: String = "") throws(APIError) {
        guard case .object = value else {
            throw path.isEmpty
                ? .badRequest("the body must be a JSON object, not \(value.kind)")
                : .badParameter(path, "'\(path)' must be an object, not \(value.kind)")
        }
        (self.value, self.path) = (value, path)
    }

    func path(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    /// The member, unless it is absent or null.
    subscript(name: String) -> JSONValue? {
        // `nil` alone would be a JSON null here.
        guard let member = value[name], member != .null else { return Optional.none }
        return member
    }

    func wrong(_ name: String, _ expected: String) -> APIError {
        let kind = self[name]?.kind ?? "missing"
        return .badParameter(path(name), "'\(path(name))' must be \(expected), not \(kind)")
    }

    func string(_ name: String) throws(APIError) -> String? {
        guard let value = self[name] else { return nil }
        guard case .string(let text) = value else { throw wrong(name, "a string") }
        return text
    }

    func bool(_ name: String) throws(APIError) -> Bool? {
        guard let value = self[name] else { return nil }
        guard case .bool(let flag) = value else { throw wrong(name, "a boolean") }
        return flag
    }

    /// A number within `range`; `above` excludes the lower end.
    func number(_ name: String, in range: ClosedRange<Double>, above: Bool = false) throws(APIError) -> Float? {
        guard let value = self[name] else { return nil }
        guard case .number(let number, _) = value else { throw wrong(name, "a number") }
        guard range.contains(number), !above || number > range.lowerBound else {
            let least = above ? "above \(range.lowerBound)" : "at least \(range.lowerBound)"
            throw .badParameter(
                path(name), "'\(path(name))' is \(number), it must be \(least) and at most \(range.upperBound)")
        }
        return Float(number)
    }

    func integer(_ name: String, in range: ClosedRange<Int64>) throws(APIError) -> Int64? {
        guard let value = self[name] else { return nil }
        guard case .number(let number, let integer) = value, let integer = integer ?? Int64(exactly: number) else {
            throw wrong(name, "an integer")
        }
        guard range.contains(integer) else {
            throw .badParameter(
                path(name),
                "'\(path(name))' is \(integer), it must be at least \(range.lowerBound) and at most \(range.upperBound)"
            )
        }
        return integer
    }

    /// The objects of an array.
    func objects(_ name: String) throws(APIError) -> [RequestFields]? {
        guard let value = self[name] else { return nil }
        guard case .array(let elements) = value else { throw wrong(name, "an array") }
        var result: [RequestFields] = []
        for (index, element) in elements.enumerated() {
            result.append(try RequestFields(element, path: "\(path(name))[\(index)]"))
        }
        return result
    }

    /// Refuses a member that would change the result and is not supported, unless `harmless` holds for it.
    func refuse(_ name: String, _ why: String, unless harmless: (JSONValue) -> Bool = { _ in false }) throws(APIError) {
        guard let value = self[name], !harmless(value) else { return }
        throw .badParameter(path(name), "'\(path(name))' is not supported: \(why)", code: "unsupported_parameter")
    }
}
