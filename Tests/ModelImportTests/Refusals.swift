// A bad input: what is wrong, the error's code, what the message has to speak of, and how to make it.
import ModelImport
import Testing

struct BadInput: CustomTestStringConvertible, Sendable {
    let what: String
    let code: ImportError.Code
    /// Words of the message: the file, and the place in it.
    let words: [String]
    let make: @Sendable (inout ModelFiles) throws -> Void

    init(
        _ what: String, _ code: ImportError.Code, _ words: [String],
        _ make: @escaping @Sendable (inout ModelFiles) throws -> Void
    ) {
        (self.what, self.code, self.words, self.make) = (what, code, words, make)
    }

    var testDescription: String { what }

    /// Imports the damaged model and checks how it is refused.
    func check(_ files: ModelFiles, _ options: ImportOptions = ImportOptions(expertsPerFunction: 0)) throws {
        var files = files
        try make(&files)
        let error = #expect(throws: ImportError.self) { try files.run(options) }
        guard let error else { return }
        #expect(error.code == code.rawValue, "\(error)")
        for word in words { #expect(error.message.contains(word), "\(error.message) should speak of \(word)") }
        #expect(!error.message.contains("Optional("), "\(error.message)")
    }
}

/// A list of bad inputs, one after another.
@resultBuilder enum BadInputs {
    static func buildBlock(_ inputs: BadInput...) -> [BadInput] { inputs }
}
