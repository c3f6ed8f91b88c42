import NIOCore
import ParleyWire
import Testing

@Suite struct WebSocketFrameTests {
    @Test(arguments: [0, 1, 7, 8, 9, 125, 126, 127, 300, 65_535, 65_536], [nil, 0x4433_02A1] as [UInt32?])
    func framesAreThoseOfTheStandard(length: Int, mask: UInt32?) {
        let payload = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
        let maskBytes = mask.map { mask in (0..<4).map { UInt8(truncatingIfNeeded: mask >> (8 * $0)) } }
        let expected = RawFrame(.text, payload, mask: maskBytes).bytes
        // Behind something else in the buffer, part of it already read.
        var written = ByteBuffer(string: "before")
        written.moveReaderIndex(forwardBy: 2)
        WebSocketFrame.write(.text, ByteBuffer(bytes: payload), mask: mask, into: &written)
        #expect(written.bytes == Array("fore".utf8) + expected)

        var produced = ByteBuffer(string: "before")
        produced.moveReaderIndex(forwardBy: 2)
        WebSocketFrame.writeText(mask: mask, into: &produced) { $0.writeBytes(payload) }
        #expect(produced.bytes == Array("fore".utf8) + expected)
    }

    @Test func fragmentsAndControlFrames() {
        var buffer = ByteBuffer()
        WebSocketFrame.write(.text, ByteBuffer(string: "a"), isFinal: false, into: &buffer)
        WebSocketFrame.write(.ping, into: &buffer)
        WebSocketFrame.write(.continuation, ByteBuffer(string: "b"), into: &buffer)
        #expect(buffer.bytes == [0x01, 1, 0x61, 0x89, 0, 0x80, 1, 0x62])
    }

    @Test func closeFramesCarryCodeAndReason() {
        var buffer = ByteBuffer()
        WebSocketFrame.writeClose(.drain, into: &buffer)
        #expect(buffer.bytes == [0x88, 7, 0x0F, 0xA0] + Array("drain".utf8))
        var cut = ByteBuffer()
        WebSocketFrame.writeClose(.normal, reason: String(repeating: "한", count: 42), into: &cut)
        #expect(cut.bytes == [0x88, 125, 0x03, 0xE8] + Array(String(repeating: "한", count: 41).utf8))
    }

    @Test func everyCloseCodeCanBeSent() throws {
        for code in CloseCode.allCases {
            var buffer = ByteBuffer()
            WebSocketFrame.writeClose(code, into: &buffer)
            var decoder = WebSocketDecoder(role: .client)
            decoder.feed(buffer)
            #expect(try decoder.next() == .close(code: code.rawValue, reason: code.reason))
        }
    }

    @Test func framesOfTheProtocolTravel() throws {
        let pong = ServerFrame(.pong(head: 130))
        let server = WebSocketFrame.text { pong.encode(into: &$0) }
        #expect(server.bytes == [0x81, 24] + Array(#"{"op":"pong","head":130}"#.utf8))
        var stream = ByteBuffer()
        WebSocketFrame.write(pong, into: &stream)
        #expect(stream == server)
        var decoder = WebSocketDecoder(role: .server)
        var client = ByteBuffer()
        WebSocketFrame.write(ClientFrame(.ping), mask: 0x1234_5678, into: &client)
        decoder.feed(client)
        guard case .text(let text)? = try decoder.next() else { return #expect(Bool(false), "not a text frame") }
        #expect(try ClientFrame.decode(text) == ClientFrame(.ping))
    }
}
