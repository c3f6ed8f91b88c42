import NIOCore
import ParleyWire
import Testing

@Suite struct IdentifierTests {
    @Test(arguments: ["a", "0", "abc123", String(repeating: "z", count: 64)])
    func userIDsAreLowerAlphanumeric(text: String) {
        #expect(UserID(text)?.description == text)
    }

    @Test(arguments: ["", "A", "a b", "a-b", "é", "a\0", String(repeating: "z", count: 65)])
    func otherUserIDsAreRefused(text: String) {
        #expect(UserID(text) == nil)
    }

    @Test func randomUserIDsAreTwelveCharactersOfCrockfordBase32() {
        let ids = (0..<200).map { _ in UserID.random() }
        #expect(Set(ids).count == 200)
        for id in ids {
            #expect(id.description.count == 12)
            #expect(id.description.allSatisfy { "0123456789abcdefghjkmnpqrstvwxyz".contains($0) })
            #expect(UserID(id.description) == id)
        }
    }

    @Test(arguments: [("A.b_c-9", true), ("", false), ("a/b", false), ("a b", false), ("ä", false), ("a:b", false)])
    func deviceIDs(text: String, isValid: Bool) {
        #expect((DeviceID(text) != nil) == isValid)
    }

    @Test func deviceIDsEndAtSixtyFourCharacters() {
        #expect(DeviceID(String(repeating: "D", count: 64)) != nil)
        #expect(DeviceID(String(repeating: "D", count: 65)) == nil)
    }

    @Test func directConversationsSortTheirUsersBytewise() throws {
        let (digit, letter) = (UserID("9")!, UserID("a")!)
        let conversation = ConversationID.direct(letter, digit)
        #expect(conversation == ConversationID.direct(digit, letter))
        #expect(conversation.description == "d:9:a")
        let members = try #require(conversation.members)
        #expect(members.lo == digit && members.hi == letter)
        #expect(conversation.peer(of: digit) == letter)
        #expect(conversation.peer(of: letter) == digit)
        #expect(conversation.peer(of: UserID("b")!) == nil)
        #expect(ConversationID.direct(UserID("ab")!, UserID("a")!).description == "d:a:ab")
    }

    @Test(arguments: ["d:9:a", "d:a:ab", "g:team", "g:0"])
    func conversationIDsRoundTrip(text: String) {
        let conversation = ConversationID(text)
        #expect(conversation?.description == text)
        #expect(conversation?.isDirect == text.hasPrefix("d:"))
        var buffer = ByteBuffer()
        conversation?.write(into: &buffer)
        #expect(buffer.text == text)
    }

    @Test(arguments: [
        "", "d", "d:", "d:a", "d:a:", "d::a", "d:b:a", "d:a:a", "d:a:b:c", "g:", "g:A", "x:a", "g", "a:b",
    ])
    func otherConversationIDsAreRefused(text: String) {
        #expect(ConversationID(text) == nil)
    }

    @Test func groupsHaveIDsOfTheirOwn() {
        #expect(ConversationID.group("team") == Sample.group)
        #expect(ConversationID.group("Team") == nil)
        #expect(ConversationID.randomGroup() != ConversationID.randomGroup())
    }

    @Test func messageIDsPackTimeLaneAndSequence() throws {
        let mid = try #require(MessageID(milliseconds: 1, lane: 2, sequence: 3))
        #expect(mid.rawValue == 1 << 22 | 2 << 12 | 3)
        #expect(mid.description == "4202499")
        #expect((mid.milliseconds, mid.lane, mid.sequence) == (1, 2, 3))
        #expect(mid.unixMilliseconds == 1_735_689_600_001)
        #expect(MessageID(unixMilliseconds: 1_735_689_600_001, lane: 2, sequence: 3) == mid)
        let last = try #require(MessageID(milliseconds: 1 << 41 - 1, lane: 1023, sequence: 4095))
        #expect(last.rawValue == UInt64(Int64.max))
        #expect(mid < last)
    }

    @Test func messageIDsRefusePartsThatDoNotFit() {
        #expect(MessageID(milliseconds: -1, lane: 0, sequence: 0) == nil)
        #expect(MessageID(milliseconds: 1 << 41, lane: 0, sequence: 0) == nil)
        #expect(MessageID(milliseconds: 0, lane: 1024, sequence: 0) == nil)
        #expect(MessageID(milliseconds: 0, lane: 0, sequence: 4096) == nil)
        #expect(MessageID(unixMilliseconds: .min, lane: 0, sequence: 0) == nil)
        #expect(MessageID(rawValue: 1 << 63) == nil)
    }

    @Test(arguments: ["", "01", "-1", "+1", "1a", " 1", "9223372036854775808", "99999999999999999999", "٣"])
    func otherMessageIDsAreRefused(text: String) {
        #expect(MessageID(text) == nil)
    }

    @Test func messageIDsRoundTrip() {
        for text in ["0", "7", "9223372036854775807", "123456789012345678"] {
            #expect(MessageID(text)?.description == text)
        }
    }

    @Test func clientMessageIDsAreUUIDv7() throws {
        let text = "019abcde-f012-7abc-8def-0123456789ab"
        let cid = try #require(ClientMessageID(text))
        #expect(cid.description == text)
        #expect(cid.milliseconds == 0x019A_BCDE_F012)
        #expect(ClientMessageID(text.uppercased()) == cid)
        var buffer = ByteBuffer()
        cid.write(into: &buffer)
        #expect(buffer.text == text)
    }

    @Test(arguments: [
        "", "019abcde-f012-7abc-8def-0123456789a", "019abcde-f012-7abc-8def-0123456789abc",
        "019abcde-f012-4abc-8def-0123456789ab", "019abcde-f012-7abc-7def-0123456789ab",
        "019abcde-f012-7abc-cdef-0123456789ab", "019abcdef-012-7abc-8def-0123456789ab",
        "019abcde-f012-7abc-8def-0123456789ag", "{19abcde-f012-7abc-8def-0123456789a}",
        "019abcdef0127abc8def0123456789ab0000",
    ])
    func otherUUIDsAreRefused(text: String) {
        #expect(ClientMessageID(text) == nil)
    }

    @Test func randomClientMessageIDsCarryTheirTime() {
        var seen: Set<ClientMessageID> = []
        for _ in 0..<200 {
            let cid = ClientMessageID.random(unixMilliseconds: 1_764_000_000_123)
            #expect(cid.milliseconds == 1_764_000_000_123)
            #expect(ClientMessageID(cid.description) == cid)
            seen.insert(cid)
        }
        #expect(seen.count == 200)
        #expect(ClientMessageID.random(unixMilliseconds: 1) < ClientMessageID.random(unixMilliseconds: 2))
    }

    @Test func contentHashIsFNV1a() {
        // From the authors' test suite.
        #expect(ContentHash.fnv1a64(of: "".utf8) == "cbf29ce484222325")
        #expect(ContentHash.fnv1a64(of: "a".utf8) == "af63dc4c8601ec8c")
        #expect(ContentHash.fnv1a64(of: "foobar".utf8) == "85944171f73967e8")
    }

    @Test func contentHashKeepsFieldsApart() {
        let contents = [
            MessageContent(body: "ab"), MessageContent(body: "a", data: "b"), MessageContent(body: "ab", data: ""),
            MessageContent(body: "ab", replyTo: Sample.mid), MessageContent(body: "ab", data: Sample.mid.description),
        ]
        #expect(Set(contents.map(\.hash)).count == contents.count)
        // Stored values depend on it.
        #expect(MessageContent(body: "hello", data: "{}", replyTo: MessageID("7")).hash == "5a270e42b10f596b")
    }
}
