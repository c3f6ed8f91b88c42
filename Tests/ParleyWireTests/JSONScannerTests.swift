import ParleyWire
import Testing

@Suite struct JSONScannerTests {
    /// Scans one document; nil if it is accepted.
    private func problem(_ bytes: [UInt8]) -> JSONError? {
        bytes.withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            do throws(JSONError) {
                try scanner.skipValue()
                try scanner.finish()
                return nil
            } catch {
                return error
            }
        }
    }

    private func withValue<R>(_ text: String, _ body: (JSONValue) throws -> R) throws -> R {
        try Array(text.utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            let value = try scanner.value()
            try scanner.finish()
            return try body(value)
        }
    }

    @Test(arguments: [
        "{}", "[]", "0", "-0", "1", "-12", "1.5", "1e5", "1E+5", "1e-5", "0.0", "-0.1e1", "true", "false", "null",
        "\"\"", "\"a\"", " {\"a\" : [ 1 , 2 ] }\t\r\n", "[[],{},[{}]]", "{\"\":0}", "{\"a\":1,\"a\":2}",
        #""\"\\\/\b\f\n\r\t\u0041""#, #""\uD83D\uDE00""#, #""\u0000""#, "\"\u{7F}é한\u{1F600}\"",
        "\"12345678\\n12345678\"",
    ])
    func acceptsRFC8259(text: String) {
        #expect(problem(Array(text.utf8)) == nil)
    }

    @Test(arguments: [
        ("", JSONError.Code.unexpectedEnd), (" ", .unexpectedEnd), ("{", .unexpectedEnd), ("[", .unexpectedEnd),
        ("[1", .unexpectedEnd), ("[1,", .unexpectedEnd), ("[1,]", .unexpectedByte), ("[,1]", .unexpectedByte),
        ("[1 2]", .unexpectedByte), ("{\"a\"}", .unexpectedByte), ("{\"a\":}", .unexpectedByte),
        ("{\"a\":1,}", .unexpectedByte), ("{,}", .unexpectedByte), ("{a:1}", .unexpectedByte),
        ("{'a':1}", .unexpectedByte), ("{1:1}", .unexpectedByte), ("{\"a\":1 \"b\":2}", .unexpectedByte),
        ("{\"a\":1]", .unexpectedByte), ("[1}", .unexpectedByte), ("]", .unexpectedByte), ("}", .unexpectedByte),
        ("{}{}", .trailingBytes), ("{} x", .trailingBytes), ("1 1", .trailingBytes), ("01", .trailingBytes),
        ("-", .unexpectedEnd), ("-a", .unexpectedByte), ("+1", .unexpectedByte), (".5", .unexpectedByte),
        ("1.", .unexpectedEnd), ("1.e5", .unexpectedByte), ("1e", .unexpectedEnd), ("1e+", .unexpectedEnd),
        ("0x10", .trailingBytes), ("NaN", .unexpectedByte), ("Infinity", .unexpectedByte), ("tru", .unexpectedEnd),
        ("trux", .unexpectedByte), ("nulll", .trailingBytes), ("True", .unexpectedByte), ("\"", .unexpectedEnd),
        ("\"a", .unexpectedEnd), ("\"\\", .unexpectedEnd), ("\"\\\"", .unexpectedEnd), ("\"\\x\"", .invalidEscape),
        ("\"\\u12\"", .invalidEscape), ("\"\\u12g4\"", .invalidEscape), ("\"\\uD83D\"", .invalidEscape),
        ("\"\\uD83Dabcdef\"", .invalidEscape), ("\"\\uDE00\"", .invalidEscape),
        ("\"\\uD83D\\u0041\"", .invalidEscape), ("\"\\uD83D\\uD83D\"", .invalidEscape), ("\"a\nb\"", .controlCharacter),
        ("\"a\tb\"", .controlCharacter), ("\"12345678\u{1F}\"", .controlCharacter), ("\"\u{0}\"", .controlCharacter),
        ("\u{FEFF}{}", .unexpectedByte), ("/* */1", .unexpectedByte), ("[1,\u{0B}2]", .unexpectedByte),
    ])
    func refuses(text: String, code: JSONError.Code) {
        #expect(problem(Array(text.utf8))?.code == code)
    }

    @Test func everyTruncationIsRefusedAndNothingTraps() {
        let text = #"{"a":[1,-2.5e3,true,null],"b":{"c":"x\n\uD83D\uDE00y"},"d":"longer than eight bytes"}"#
        let bytes = Array(text.utf8)
        #expect(problem(bytes) == nil)
        for count in 0..<bytes.count {
            #expect(problem(Array(bytes[..<count])) != nil, "cut at \(count)")
        }
    }

    @Test func errorsTellTheirOffset() {
        #expect(problem(Array("{\"a\":x}".utf8))?.offset == 5)
    }

    @Test func containersNestThirtyTwoDeep() {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        #expect(problem(nested(32)) == nil)
        #expect(problem(nested(33))?.code == .tooDeep)
        #expect(problem(Array(repeating: UInt8(ascii: "["), count: 1_000_000))?.code == .tooDeep)
        let objects = String(repeating: "{\"a\":", count: 33) + "1" + String(repeating: "}", count: 33)
        #expect(problem(Array(objects.utf8))?.code == .tooDeep)
    }

    @Test func badBytesNeverTrap() {
        for byte in UInt8.min...UInt8.max {
            _ = problem([byte])
            _ = problem([UInt8(ascii: "\""), byte, UInt8(ascii: "\"")])
            let document = [UInt8(ascii: "\""), byte, 0x80, 0xFF, UInt8(ascii: "\"")]
            document.withUnsafeBytes { bytes in
                var scanner = JSONScanner(bytes)
                _ = try? scanner.value().string()
            }
        }
        #expect(problem([0x22, 0xFF, 0xC0, 0x22]) == nil)
    }

    @Test func stringsComeOutDecoded() throws {
        let texts = [
            (#""plain""#, "plain"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
            (#""a\u00e9\uD83D\uDE00\uFFFFz""#, "aé😀\u{FFFF}z"),
            (#""\u0000""#, "\0"), ("\"한글\"", "한글"),
        ]
        for (text, expected) in texts {
            #expect(try withValue(text) { $0.string() } == expected)
        }
        #expect(try withValue("1") { $0.string() } == nil)
    }

    @Test func integersStayWithinFiftyThreeBits() throws {
        let integers: [(String, Int64?)] = [
            ("0", 0), ("-0", 0), ("-7", -7), ("9007199254740991", 9_007_199_254_740_991),
            ("-9007199254740991", -9_007_199_254_740_991), ("9007199254740992", nil), ("-9007199254740992", nil),
            ("99999999999999999999999", nil), ("1.0", nil), ("1e3", nil), ("\"1\"", nil), ("true", nil),
        ]
        for (text, expected) in integers {
            #expect(try withValue(text) { $0.integer() } == expected, "\(text)")
        }
        #expect(try withValue("-2.5e2") { $0.double() } == -250)
        #expect(try withValue("1e999") { $0.double() } == nil)
        #expect(try withValue("true") { $0.bool() } == true)
        #expect(try withValue("0") { $0.bool() } == nil)
    }

    @Test func pullsMembersAndExactRawValues() throws {
        let text = #" {"a" : [ 1 , {"x":2} ] , "b":"\u0041", "c": -1.50 , "d":{ } } "#
        try Array(text.utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            var members: [String: String] = [:]
            try scanner.beginObject()
            while let key = try scanner.nextKey() {
                members[key.string()!] = String(decoding: try scanner.rawValue(), as: UTF8.self)
            }
            try scanner.finish()
            #expect(members == ["a": #"[ 1 , {"x":2} ]"#, "b": #""\u0041""#, "c": "-1.50", "d": "{ }"])
        }
    }

    @Test func pullsElements() throws {
        try Array("[1,[2,3],4]".utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            var numbers: [Int64] = []
            try scanner.beginArray()
            while try scanner.nextElement() {
                let value = try scanner.value()
                if let number = value.integer() { numbers.append(number) }
            }
            try scanner.finish()
            #expect(numbers == [1, 4])
        }
    }

    @Test func misuseIsAnErrorToo() {
        Array("{\"a\":1}".utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            #expect(throws: JSONError.self) { try scanner.beginArray() }
            #expect(throws: JSONError.self) { _ = try scanner.nextKey() }
            #expect(throws: JSONError.self) { _ = try scanner.nextElement() }
            #expect(throws: Never.self) {
                try scanner.beginObject()
                _ = try scanner.nextKey()
            }
            #expect(throws: JSONError.self) { _ = try scanner.nextKey() }
            #expect(throws: JSONError.self) { try scanner.finish() }
        }
    }
}
