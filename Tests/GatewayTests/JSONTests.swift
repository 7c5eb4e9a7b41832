// The reader of strangers' JSON: what it takes, where it says a text is broken, and that nothing breaks it.
import Testing

@testable import Gateway

@Suite struct JSONTests {
    private func read(_ text: String) throws -> JSONValue { try JSONReader.read(Array(text.utf8)) }

    @Test(
        "Every kind of value is read, and written as it was",
        arguments: [
            "null", "true", "false", "0", "-1", "12345678901234567", "1.5", "-0.25", "\"\"", "\"a\\\"b\\\\c\\n\"", "[]",
            "{}",
            "[1,[2,[3]],{\"a\":null}]", "{\"b\":1,\"a\":{\"c\":[true,false]}}", "\"ä€𝄞\"",
        ])
    func roundTrip(text: String) throws { #expect(try read(text).text == text) }

    @Test("Escapes, surrogate pairs and blanks are understood")
    func escapes() throws {
        #expect(
            try read(" \n\t[ \"\\u00e4\\ud834\\udd1e\\/\\b\" , 1e3 ] \r\n") == [
                .string("ä𝄞/\u{8}"), .number(1000, integer: nil),
            ])
    }

    @Test(
        "A mistake is reported with its line and column",
        arguments: [
            ("", 1, 1), ("{\"a\": 1,", 1, 9), ("{\n  \"a\" 1}", 2, 7), ("{\"a\":1}x", 1, 8), ("[1,]", 1, 4),
            ("{\"a\":tru}", 1, 6),
            ("\"\\ud800\"", 1, 8), ("\"\\x\"", 1, 4), ("01", 1, 2), ("1.", 1, 3), ("-", 1, 2), ("\"\u{1}\"", 1, 2),
            ("[1 2]", 1, 4),
            ("{1:2}", 1, 2), ("\"abc", 1, 5), ("1e999", 1, 6), ("nul", 1, 1), ("'a'", 1, 1), ("[\"\\u12\"]", 1, 7),
        ])
    func mistakes(text: String, line: Int, column: Int) throws {
        let error = #expect(throws: JSONSyntaxError.self) { try read(text) }
        #expect(error?.line == line)
        #expect(error?.column == column, "\(String(describing: error))")
    }

    @Test("Bytes that are no UTF-8 and nesting without end are refused")
    func hostile() throws {
        #expect(throws: JSONSyntaxError.self) { try JSONReader.read([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONSyntaxError.self) {
            try JSONReader.read(Array(repeating: UInt8(ascii: "["), count: 1_000_000))
        }
    }
}
