// The words of a template: stretches of text, and what stands between {{ }} or {% %}.

struct TemplateToken {
    enum Kind: Equatable {
        case text(String)
        /// `{%` and `%}`, `{{` and `}}`.
        case statementBegin, statementEnd, outputBegin, outputEnd
        case name(String)
        case string(String)
        case integer(Int32)
        /// An operator or a bracket.
        case symbol(String)
        case end
    }

    let kind: Kind
    /// The first line is 1.
    let line: Int

    /// How the token is named in a message.
    var quoted: String {
        switch kind {
        case .text: "text"
        case .statementBegin: "'{%'"
        case .statementEnd: "'%}'"
        case .outputBegin: "'{{'"
        case .outputEnd: "'}}'"
        case .name(let name): "'\(name)'"
        case .string: "a string"
        case .integer(let value): "\(value)"
        case .symbol(let symbol): "'\(symbol)'"
        case .end: "the end of the template"
        }
    }
}
