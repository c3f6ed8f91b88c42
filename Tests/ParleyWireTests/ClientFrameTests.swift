import NIOCore
import ParleyWire
import Testing

@Suite struct ClientFrameTests {
    static let cid = "\"cid\":\"019abcde-f012-7abc-8def-0123456789ab\""
    static let conv = "\"conv\":\"d:alice0000001:bob000000002\""
    static let mid = "\"mid\":\"123456789012345678\""

    static let golden: [(String, ClientFrame)] = [
        (
            #"{"op":"auth","token":"a.b.c","device":"Phone-1.a_b","resume":{"epoch":"e1","q":123}}"#,
            ClientFrame(.auth(.init(token: "a.b.c", device: Sample.device, resume: .init(epoch: "e1", q: 123))))
        ),
        (
            #"{"op":"auth","token":"t","device":"Phone-1.a_b","ephemeral":true,"id":1}"#,
            ClientFrame(.auth(.init(token: "t", device: Sample.device, ephemeral: true)), id: FrameID(1))
        ),
        (
            "{\"op\":\"send\",\(cid),\(conv),\"body\":\"hi \\\"Bob\\\"\\n\"}",
            ClientFrame(
                .send(
                    .init(
                        cid: Sample.cid,
                        target: .conversation(Sample.direct),
                        content: MessageContent(body: "hi \"Bob\"\n")
                    )
                )
            )
        ),
        (
            "{\"op\":\"send\",\(cid),\"to\":\"bob000000002\",\"body\":\"안녕 😀\",\"data\":{\"url\" : \"http:\\/\\/x\"},"
                + "\"reply_to\":\"7\"}",
            ClientFrame(
                .send(
                    .init(
                        cid: Sample.cid,
                        target: .user(Sample.bob),
                        content: MessageContent(
                            body: "안녕 😀",
                            data: #"{"url" : "http:\/\/x"}"#,
                            replyTo: MessageID("7")
                        )
                    )
                )
            )
        ),
        (
            "{\"op\":\"edit\",\(cid),\(conv),\(mid),\"body\":\"new\"}",
            ClientFrame(.edit(.init(cid: Sample.cid, conv: Sample.direct, mid: Sample.mid, body: "new")))
        ),
        (
            "{\"op\":\"delete\",\(cid),\(conv),\(mid)}",
            ClientFrame(.delete(.init(cid: Sample.cid, conv: Sample.direct, mid: Sample.mid)))
        ),
        (#"{"op":"ack","q":124}"#, ClientFrame(.ack(q: 124))),
        ("{\"op\":\"read\",\(conv),\"seq\":7}", ClientFrame(.read(conv: Sample.direct, seq: 7))),
        (#"{"op":"typing","conv":"g:team"}"#, ClientFrame(.typing(conv: Sample.group))),
        (
            #"{"op":"watch","users":["alice0000001","bob000000002"]}"#,
            ClientFrame(.watch(users: [Sample.alice, Sample.bob]))
        ),
        (#"{"op":"watch","users":[]}"#, ClientFrame(.watch(users: []))),
        (#"{"op":"active"}"#, ClientFrame(.active)),
        (#"{"op":"sync","epoch":"e1","q":0}"#, ClientFrame(.sync(.init(epoch: "e1", q: 0)))),
        (#"{"op":"ping"}"#, ClientFrame(.ping)),
        (
            #"{"op":"suggest","text":"he","locale":"ko-KR","id":1}"#,
            ClientFrame(.suggest(text: "he", locale: "ko-KR"), id: FrameID(1))
        ),
        (#"{"op":"suggest","text":""}"#, ClientFrame(.suggest(text: "", locale: nil))),
    ]

    @Test(arguments: golden) func followsTheContract(text: String, frame: ClientFrame) throws {
        #expect(try decodeClient(text) == frame)
        #expect(encoded(frame) == text)
    }

    static let send = "{\"op\":\"send\",\(cid),\(conv)"

    static let refused: [(String, ErrorCode, String)] = [
        ("", .badFrame, "JSON"), ("x", .badFrame, "JSON"), ("[]", .badFrame, "JSON"), ("{}", .badFrame, "op"),
        (#"{"op":"ping"} x"#, .badFrame, "JSON"), (#"{"op":"ping""#, .badFrame, "JSON"),
        (#"{"op":null}"#, .badFrame, "op"), (#"{"op":1}"#, .badFrame, "op"), (#"{"op":"PING"}"#, .badFrame, "op"),
        (#"{"op":"nope"}"#, .badFrame, "op"), (#"{"op":"event","q":1}"#, .badFrame, "op"),
        (#"{"op":"ping","id":true}"#, .badFrame, "id"), (#"{"op":"ping","id":{}}"#, .badFrame, "id"),
        ("{\"op\":\"ping\",\"id\":\"\(String(repeating: "x", count: 63))\"}", .badFrame, "id"),
        (#"{"op":"auth","device":"a"}"#, .badFrame, "token"), (#"{"op":"auth","token":"t"}"#, .badFrame, "device"),
        (#"{"op":"auth","token":1,"device":"a"}"#, .badFrame, "token"),
        (#"{"op":"auth","token":"t","device":"a b"}"#, .invalid, "device"),
        (#"{"op":"auth","token":"t","device":"a","resume":1}"#, .badFrame, "resume"),
        (#"{"op":"auth","token":"t","device":"a","resume":{"q":1}}"#, .badFrame, "epoch"),
        (#"{"op":"auth","token":"t","device":"a","resume":{"epoch":"e","q":-1}}"#, .invalid, "q"),
        (#"{"op":"auth","token":"t","device":"a","ephemeral":1}"#, .badFrame, "ephemeral"),
        (send + "}", .badFrame, "body"), (send + #","body":1}"#, .badFrame, "body"),
        (send + #","body":null}"#, .badFrame, "body"), (send + #","body":""}"#, .invalid, "body"),
        (send + #","body":"a\u0000b"}"#, .invalid, "body"),
        (send + ",\"body\":\"\(String(repeating: "x", count: 16_385))\"}", .tooLarge, "body"),
        (send + ",\"body\":\"\(String(repeating: "é", count: 8_193))\"}", .tooLarge, "body"),
        (send + #","body":"x","data":[]}"#, .badFrame, "data"),
        (send + #","body":"x","data":"{}"}"#, .badFrame, "data"),
        (send + ",\"body\":\"x\",\"data\":{\"a\":\"\(String(repeating: "x", count: 4_089))\"}}", .tooLarge, "data"),
        (send + #","body":"x","reply_to":7}"#, .badFrame, "reply_to"),
        (send + #","body":"x","reply_to":"x"}"#, .notFound, "reply_to"),
        (send + #","to":"bob","body":"x"}"#, .badFrame, "conv"),
        ("{\"op\":\"send\",\(cid),\"body\":\"x\"}", .badFrame, "conv"),
        ("{\"op\":\"send\",\(conv),\"body\":\"x\"}", .badFrame, "cid"),
        ("{\"op\":\"send\",\"cid\":7,\(conv),\"body\":\"x\"}", .badFrame, "cid"),
        ("{\"op\":\"send\",\"cid\":\"x\",\(conv),\"body\":\"x\"}", .invalid, "cid"),
        ("{\"op\":\"send\",\(cid),\"conv\":\"x\",\"body\":\"x\"}", .notFound, "conv"),
        ("{\"op\":\"send\",\(cid),\"conv\":1,\"body\":\"x\"}", .badFrame, "conv"),
        ("{\"op\":\"send\",\(cid),\"to\":\"No One\",\"body\":\"x\"}", .notFound, "to"),
        ("{\"op\":\"edit\",\(cid),\(conv),\"body\":\"x\"}", .badFrame, "mid"),
        ("{\"op\":\"edit\",\(cid),\(conv),\(mid),\"body\":\"\"}", .invalid, "body"),
        ("{\"op\":\"delete\",\(cid),\(conv),\"mid\":\"x\"}", .notFound, "mid"),
        (#"{"op":"ack"}"#, .badFrame, "q"), (#"{"op":"ack","q":"1"}"#, .badFrame, "q"),
        (#"{"op":"ack","q":1.5}"#, .badFrame, "q"), (#"{"op":"ack","q":9007199254740992}"#, .badFrame, "q"),
        (#"{"op":"ack","q":-1}"#, .invalid, "q"), (#"{"op":"read","seq":7}"#, .badFrame, "conv"),
        (#"{"op":"read","conv":"g:a"}"#, .badFrame, "seq"), (#"{"op":"typing"}"#, .badFrame, "conv"),
        (#"{"op":"watch"}"#, .badFrame, "users"), (#"{"op":"watch","users":"a"}"#, .badFrame, "users"),
        (#"{"op":"watch","users":[1]}"#, .badFrame, "users"), (#"{"op":"watch","users":["A"]}"#, .notFound, "users"),
        (#"{"op":"sync","q":1}"#, .badFrame, "epoch"), (#"{"op":"sync","epoch":"e"}"#, .badFrame, "q"),
        (#"{"op":"suggest"}"#, .badFrame, "text"), (#"{"op":"suggest","text":"a","locale":1}"#, .badFrame, "locale"),
    ]

    @Test(arguments: refused) func refusals(text: String, code: ErrorCode, field: String) {
        let error = #expect(throws: FrameError.self) { try decodeClient(text) }
        #expect(error?.code == code)
        #expect(error?.message.contains(field) == true, "\(error?.message ?? "")")
    }

    @Test func limitsAreInclusive() throws {
        let body = String(repeating: "é", count: 8_192)
        let data = "{\"a\":\"\(String(repeating: "x", count: 4_088))\"}"
        #expect(data.utf8.count == 4_096)
        let frame = try decodeClient("\(Self.send),\"body\":\"\(body)\",\"data\":\(data)}")
        guard case .send(let send) = frame.operation else { return #expect(Bool(false), "not a send") }
        #expect(send.body == body && send.data == data)
        let users = (0..<201).map { "\"u\($0)\"" }
        #expect(throws: Never.self) {
            try decodeClient("{\"op\":\"watch\",\"users\":[\(users.dropLast().joined(separator: ","))]}")
        }
        let error = #expect(throws: FrameError.self) {
            try decodeClient("{\"op\":\"watch\",\"users\":[\(users.joined(separator: ","))]}")
        }
        #expect(error?.code == .invalid)
    }

    @Test func idsAreEchoedVerbatim() throws {
        for id in ["1", "-1.50e3", "\"a\\u0041\"", "\"\(String(repeating: "x", count: 62))\"", "\"\""] {
            let frame = try decodeClient("{\"id\": \(id) ,\"op\":\"ping\"}")
            #expect(frame.id?.raw == id)
            #expect(encoded(frame) == "{\"op\":\"ping\",\"id\":\(id)}")
        }
        #expect(try decodeClient(#"{"op":"ping","id":null}"#).id == nil)
    }

    @Test func refusalsEchoWhatTheyCould() throws {
        let whole = #expect(throws: FrameError.self) {
            try decodeClient("{\"op\":\"send\",\"id\":5,\(Self.cid),\(Self.conv),\"body\":\"\"}")
        }
        #expect(whole?.id == FrameID(5) && whole?.cid == FrameID(Sample.cid) && whole?.cid?.cid == Sample.cid)
        let malformed = #expect(throws: FrameError.self) { try decodeClient(#"{"op":"send","cid":"mine"}"#) }
        #expect(malformed?.cid?.raw == "\"mine\"" && malformed?.cid?.cid == nil && malformed?.id == nil)
        let cut = #expect(throws: FrameError.self) { try decodeClient(#"{"id":"x","cid":"y","op":}"#) }
        #expect(cut?.code == .badFrame && cut?.id?.raw == "\"x\"" && cut?.cid?.raw == "\"y\"")
    }

    @Test func unknownAndForeignFieldsAreIgnored() throws {
        #expect(try decodeClient(#"{"x":[{}],"op":"ping","q":"no number","users":5,"body":7}"#).operation == .ping)
    }

    @Test func theLastDuplicateWinsAndKeysMayBeEscaped() throws {
        #expect(try decodeClient(#"{"op":"active","q":1,"q":2,"op":"ack"}"#).operation == .ack(q: 2))
        #expect(try decodeClient(#"{"\u006fp":"ack","\u0071":3}"#).operation == .ack(q: 3))
        #expect(throws: FrameError.self) { try decodeClient(#"{"op\u0000":"ping"}"#) }
    }

    @Test func upperCaseCidsComeOutLowerCase() throws {
        let frame = try decodeClient(
            "{\"op\":\"send\",\(Self.cid.uppercased().replacing("CID", with: "cid")),\(Self.conv),\"body\":\"x\"}"
        )
        guard case .send(let send) = frame.operation else { return #expect(Bool(false), "not a send") }
        #expect(send.cid == Sample.cid)
    }
}
