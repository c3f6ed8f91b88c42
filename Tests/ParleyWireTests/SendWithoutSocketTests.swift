import NIOCore
import ParleyWire
import Testing

/// What a send over HTTP carries and gets back.
@Suite struct SendWithoutSocketTests {
    private func decode(_ text: String) throws(FrameError) -> MessageContent {
        try MessageContent.decode(ByteBuffer(string: text))
    }

    @Test func contentIsThatOfAFrame() throws {
        let fields = #""body":"안녕 \"Bob\"","data":{"n" : 2.50},"reply_to":"7""#
        let content = try decode("{\(fields),\"cid\":5,\"unknown\":[1],\"op\":\"ack\"}")
        #expect(content == MessageContent(body: "안녕 \"Bob\"", data: #"{"n" : 2.50}"#, replyTo: MessageID("7")))
        let frame = try decodeClient("{\"op\":\"send\",\(ClientFrameTests.cid),\(ClientFrameTests.conv),\(fields)}")
        guard case .send(let send) = frame.operation else { return #expect(Bool(false), "not a send") }
        #expect(send.content == content && send.content.hash == content.hash)
    }

    @Test(
        arguments: [
            ("", ErrorCode.badFrame), ("{", .badFrame), ("[]", .badFrame), ("{}", .badFrame),
            (#"{"body":1}"#, .badFrame), (#"{"body":null}"#, .badFrame), (#"{"body":"a","data":1}"#, .badFrame),
            (#"{"body":"a"}x"#, .badFrame), (#"{"body":""}"#, .invalid), (#"{"body":"a\u0000"}"#, .invalid),
            (#"{"body":"a","reply_to":"x"}"#, .notFound),
        ]
    )
    func refusals(text: String, code: ErrorCode) {
        let error = #expect(throws: FrameError.self) { try decode(text) }
        #expect(error?.code == code)
    }

    @Test func bytesThatAreNotUTF8AreNoJSON() {
        let error = #expect(throws: FrameError.self) {
            try MessageContent.decode(ByteBuffer(bytes: Array(#"{"body":"a"#.utf8) + [0xFF] + Array(#""}"#.utf8)))
        }
        #expect(error?.code == .badFrame)
    }

    @Test func theAnswerIsAFrameWithoutItsName() {
        let sent = ServerFrame.Sent(cid: Sample.cid, conv: Sample.direct, mid: Sample.mid, seq: 7, ts: 9, dup: true)
        var buffer = ByteBuffer()
        sent.encode(into: &buffer)
        #expect(encoded(ServerFrame(.sent(sent))) == #"{"op":"sent","# + buffer.text.dropFirst())
        #expect(buffer.text.hasSuffix(#""seq":7,"ts":9,"dup":true}"#))
    }
}
