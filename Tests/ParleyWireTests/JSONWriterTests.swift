import NIOCore
import ParleyWire
import Testing

@Suite struct JSONWriterTests {
    private func written(_ text: String) -> String {
        var buffer = ByteBuffer()
        buffer.writeJSONString(text)
        return buffer.text
    }

    @Test func escapesOnlyWhatMustBe() {
        #expect(written("") == "\"\"")
        #expect(written("a/é😀\u{7F}\u{2028}") == "\"a/é😀\u{7F}\u{2028}\"")
        #expect(written("\"\\\u{8}\u{C}\n\r\t\0\u{1F}") == #""\"\\\b\f\n\r\t\u0000\u001f""#)
        #expect(written("eight by\nand more than eight\"") == #""eight by\nand more than eight\"""#)
    }

    @Test func putsCommasWhereTheyBelong() {
        var buffer = ByteBuffer()
        buffer.beginJSONObject()
        buffer.writeJSONField("a", "{")
        buffer.writeJSONField("b", 1)
        buffer.writeJSONKey("c")
        buffer.beginJSONArray()
        for text in ["[", "x"] {
            buffer.beginJSONElement()
            buffer.writeJSONString(text)
        }
        buffer.endJSONArray()
        buffer.writeJSONField("d", true)
        buffer.writeJSONField("e", raw: "{}")
        buffer.writeJSONKey("f")
        buffer.beginJSONObject()
        buffer.endJSONObject()
        buffer.writeJSONField("g", Sample.mid)
        buffer.endJSONObject()
        #expect(buffer.text == #"{"a":"{","b":1,"c":["[","x"],"d":true,"e":{},"f":{},"g":"123456789012345678"}"#)
    }

    @Test func writesDecimals() {
        for number in [0, 7, 10, -1, 1_764_000_000_123, Int64.max, Int64.min] {
            var buffer = ByteBuffer()
            buffer.writeDecimal(number)
            #expect(buffer.text == String(number))
        }
        var buffer = ByteBuffer()
        buffer.writeDecimal(UInt64.max)
        #expect(buffer.text == String(UInt64.max))
    }

    @Test func numbersWithoutJSONFormBecomeNull() {
        for (number, text) in [(1.5, "1.5"), (-2, "-2.0"), (.nan, "null"), (.infinity, "null")] as [(Double, String)] {
            var buffer = ByteBuffer()
            buffer.writeJSONNumber(number)
            #expect(buffer.text == text)
        }
    }
}
