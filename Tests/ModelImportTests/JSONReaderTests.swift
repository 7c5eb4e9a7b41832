// The JSON reader takes what RFC 8259 allows and nothing else.
import Testing

@testable import ModelImport

@Suite struct JSONReaderTests {
    private func read<T>(_ text: String, _ body: (inout JSONReader) throws(ImportError) -> T) throws -> T? {
        var json = JSONReader(file: "x.json", bytes: Array(text.utf8))
        var value: T?
        try json.document { json throws(ImportError) in value = try body(&json) }
        return value
    }

    @Test(
        "Strings come out with their escapes resolved",
        arguments: [
            (#""a\n\t\"\\\/\b\f\r""#, "a\n\t\"\\/\u{8}\u{C}\r"), (#""\u00e9\u4e2d""#, "é中"), (#""\ud83d\ude00""#, "😀"),
            ("\"é中😀\"", "é中😀"), ("\"\"", ""), (#"  "\u0000" "#, "\0"),
        ])
    func strings(_ text: String, _ expected: String) throws {
        let value = try read(text) { json throws(ImportError) in try json.string() }
        #expect(value.map { Array($0.utf8) } == Array(expected.utf8))
    }

    @Test("Numbers keep their value")
    func numbers() throws {
        for (text, value) in [
            ("0", 0.0), ("-0", -0.0), ("12.5e-1", 1.25), ("1E3", 1000), ("9007199254740993", 9_007_199_254_740_992),
        ] {
            #expect(try read(text) { json throws(ImportError) in try json.double() } == value)
        }
        #expect(try read("-9223372036854775808") { json throws(ImportError) in try json.int() } == Int.min)
    }

    @Test(
        "What is not JSON is refused",
        arguments: [
            "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}",
            "[1 2]",
            "01", "+1", "1.", ".5", "1e", "--1", "0x10", "NaN", "Infinity", "-", "tru", "nul", "True", "\"", "\"\\",
            "\"\\x\"",
            "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"", "1 1", "[] []",
            "\u{FEFF}1", "{\"a\":1,\"a\":2}", "[1]]", "// x\n1",
        ])
    func refused(_ text: String) {
        let error = #expect(throws: ImportError.self) {
            try read(text) { json throws(ImportError) in try json.skip() }
        }
        #expect(error?.message.hasPrefix("x.json, byte ") == true)
    }

    @Test("Numbers that do not fit are refused")
    func tooLarge() {
        for text in ["9223372036854775808", "1.5", "1e3"] {
            #expect(throws: ImportError.self) { try read(text) { json throws(ImportError) in try json.int() } }
        }
        #expect(throws: ImportError.self) { try read("1e999") { json throws(ImportError) in try json.double() } }
    }

    @Test("Keys without number are refused, however they are nested, and those of closed objects do not count")
    func manyKeys() throws {
        func skip(_ text: String) throws {
            var json = JSONReader(file: "x.json", bytes: Array(text.utf8))
            json.mostKeys = 3
            try json.document { json throws(ImportError) in try json.skip() }
        }
        try skip(#"[{"a":1,"b":1},{"a":{"c":1},"b":{"c":1}},{"a":1,"b":1,"c":1}]"#)
        for text in [#"{"a":1,"b":1,"c":1,"d":1}"#, #"{"a":1,"b":{"a":1,"b":1}}"#] {
            #expect(throws: ImportError.self) { try skip(text) }
        }
    }

    @Test("Keys that differ only in their normal form are two keys")
    func normalForms() throws {
        var keys = 0
        _ = try read("{\"\u{E9}\":1,\"e\u{301}\":2}") { json throws(ImportError) in
            try json.object { json, _ throws(ImportError) in
                keys += 1
                try json.skip()
            }
        }
        #expect(keys == 2)
    }
}
