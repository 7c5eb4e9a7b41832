// A part of a tokenizer's pipeline as tokenizer.json writes it: a type, its settings, and for a sequence the parts that
// it consists of. All kinds of parts are read alike here; `HFPipeline` judges them.

struct HFComponent {
    private(set) var type = ""
    private(set) var texts: [String: String] = [:]
    private(set) var flags: [String: Bool] = [:]
    private(set) var parts: [HFComponent] = []
    /// Of a template for single texts: the tokens in it, nil for the text itself.
    private(set) var template: [String?] = []
    /// Blanks that are taken off both ends.
    private(set) var strips = [0, 0]

    /// Reads a component, or null.
    init?(optional json: inout JSONReader) throws(ImportError) {
        guard try !json.null() else { return nil }
        try self.init(&json)
    }

    private init(_ json: inout JSONReader) throws(ImportError) {
        var component = self
        try json.object { json, key throws(ImportError) in try component.read(key, &json) }
        self = component
    }

    /// The parts of a sequence, or the component alone.
    var steps: [HFComponent] { type == "Sequence" ? parts : [self] }

    /// For messages: the type, and those of its parts.
    var words: String { parts.isEmpty ? type : "\(type) of \(parts.map(\.type).joined(separator: ", "))" }

    private mutating func read(_ key: String, _ json: inout JSONReader) throws(ImportError) {
        switch key {
        case "normalizers", "pretokenizers", "processors", "decoders":
            var parts: [HFComponent] = []
            try json.array { json throws(ImportError) in parts.append(try HFComponent(&json)) }
            self.parts = parts
        case "single": template = try Self.template(&json)
        case "pattern":
            var pattern: [String: String] = [:]
            try json.object { json, key throws(ImportError) in pattern[key] = try json.string() }
            texts.merge(pattern) { $1 }
        case "start": strips[0] = try json.int()
        case "stop": strips[1] = try json.int()
        case "type": type = try json.string()
        default:
            switch try json.kind() {
            case .string: texts[key] = try json.string()
            case .bool: flags[key] = try json.bool()
            default: try json.skip()
            }
        }
    }

    /// `[{"SpecialToken": {"id": "<s>", …}}, {"Sequence": {"id": "A", …}}]`
    private static func template(_ json: inout JSONReader) throws(ImportError) -> [String?] {
        var template: [String?] = []
        try json.array { json throws(ImportError) in
            try json.object { json, kind throws(ImportError) in
                var id = ""
                try json.object { json, key throws(ImportError) in
                    if key == "id" { id = try json.string() } else { try json.skip() }
                }
                template.append(kind == "Sequence" ? nil : id)
            }
        }
        return template
    }
}
