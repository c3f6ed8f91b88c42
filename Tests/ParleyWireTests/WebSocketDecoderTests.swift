import NIOCore
import ParleyWire
import Testing

/// RFC 6455's cases, numbered as in the Autobahn test suite, sections 1 to 7, 9 and 10.
@Suite struct WebSocketDecoderTests {
    // 1: framing.

    @Test(arguments: [0, 1, 125, 126, 127, 128, 65_535, 65_536])
    func payloadLengths(length: Int) {
        let payload = [UInt8](repeating: UInt8(ascii: "*"), count: length)
        expect(RawFrame.text(payload).bytes, [.text(ByteBuffer(bytes: payload))])
        expect(RawFrame.binary(payload).bytes, [.binary(ByteBuffer(bytes: payload))])
    }

    @Test func clientsReadUnmaskedFrames() throws {
        var decoder = WebSocketDecoder(role: .client)
        decoder.feed(ByteBuffer(bytes: RawFrame.text("hi", mask: nil).bytes))
        #expect(try decoder.next() == .text(ByteBuffer(string: "hi")))
        #expect(try decoder.next() == nil)
    }

    @Test func masksAreOwedByClientsAlone() {
        expect(RawFrame.text("hi", mask: nil).bytes, [], .protocolError)
        var decoder = WebSocketDecoder(role: .client)
        decoder.feed(ByteBuffer(bytes: RawFrame.text("hi").bytes))
        let violation = #expect(throws: WebSocketViolation.self) { _ = try decoder.next() }
        #expect(violation?.closeCode == .protocolError)
    }

    @Test func theExampleOfTheStandard() {
        // RFC 6455, section 5.7: a single-frame masked text message.
        let bytes: [UInt8] = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]
        expect(bytes, [.text(ByteBuffer(string: "Hello"))])
    }

    @Test(
        arguments: [
            [0x81, 0xFE, 0x00, 0x7D], [0x81, 0xFE, 0x00, 0x00], [0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            [0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], [0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ] as [[UInt8]]
    )
    func lengthsAreMinimalAndPositive(header: [UInt8]) {
        expect(header + [0, 0, 0, 0], [], .protocolError)
    }

    // 2: pings and pongs.

    @Test func pingsComeWithTheirPayload() {
        let binary: [UInt8] = [0, 0xFF, 0xFE, 0xFD]
        let full = [UInt8](repeating: 0xFE, count: 125)
        let frames = [RawFrame(.ping, []), RawFrame(.ping, binary), RawFrame(.ping, full), RawFrame(.pong, binary)]
        expect(
            frames.flatMap(\.bytes),
            [
                .ping(ByteBuffer()), .ping(ByteBuffer(bytes: binary)), .ping(ByteBuffer(bytes: full)),
                .pong(ByteBuffer(bytes: binary)),
            ]
        )
    }

    @Test(arguments: [WebSocketOpcode.ping, .pong, .close])
    func controlFramesAreShortAndWhole(opcode: WebSocketOpcode) {
        let long = [0x03, 0xE8] + [UInt8](repeating: UInt8(ascii: "x"), count: 124)
        expect(RawFrame(opcode, long).bytes, [], .protocolError)
        expect(RawFrame(opcode, [0x03, 0xE8], isFinal: false).bytes, [], .protocolError)
    }

    // 3: reserved bits.

    @Test(arguments: 1...7 as ClosedRange<UInt8>, [WebSocketOpcode.text, .binary, .ping, .pong, .close])
    func reservedBitsAreRefused(bits: UInt8, opcode: WebSocketOpcode) {
        var bytes = RawFrame(opcode, []).bytes
        bytes[0] |= bits << 4
        expect(RawFrame.text("before").bytes + bytes, [.text(ByteBuffer(string: "before"))], .protocolError)
    }

    // 4: opcodes.

    @Test(arguments: [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] as [UInt8])
    func reservedOpcodesAreRefused(opcode: UInt8) {
        var bytes = RawFrame.text("x").bytes
        bytes[0] = 0x80 | opcode
        expect(RawFrame.text("before").bytes + bytes, [.text(ByteBuffer(string: "before"))], .protocolError)
    }

    // 5: fragmentation.

    @Test func fragmentsAreJoinedAroundControlFrames() {
        let frames = [
            RawFrame(.text, Array("one ".utf8), isFinal: false), RawFrame(.ping, [1]),
            RawFrame(.continuation, Array("two ".utf8), isFinal: false), RawFrame(.pong, [2]),
            RawFrame(.continuation, [], isFinal: false), RawFrame(.continuation, Array("three".utf8)),
            RawFrame(.binary, [], isFinal: false), RawFrame(.continuation, []),
        ]
        expect(
            frames.flatMap(\.bytes),
            [
                .ping(ByteBuffer(bytes: [1])), .pong(ByteBuffer(bytes: [2])),
                .text(ByteBuffer(string: "one two three")), .binary(ByteBuffer()),
            ]
        )
    }

    @Test func continuationsNeedABeginning() {
        for isFinal in [true, false] {
            expect(RawFrame(.continuation, [1], isFinal: isFinal).bytes, [], .protocolError)
            // Nor may one follow a finished message.
            let late = [RawFrame(.text, [], isFinal: false), RawFrame(.continuation, [])]
            expect(
                late.flatMap(\.bytes) + RawFrame(.continuation, [1], isFinal: isFinal).bytes,
                [.text(ByteBuffer())],
                .protocolError
            )
        }
    }

    @Test func messagesDoNotInterleave() {
        for opcode in [WebSocketOpcode.text, .binary] {
            let frames = [RawFrame(.text, [0x61], isFinal: false), RawFrame(opcode, [0x62])]
            expect(frames.flatMap(\.bytes), [], .protocolError)
        }
    }

    // 6: UTF-8.

    @Test(arguments: [
        "κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "\u{7F}\u{80}\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}", "\u{0}", "\u{FFFE}",
        "\u{D7FF}\u{E000}\u{FFFD}", "plain text that is longer than one vector of bytes, all of it in ASCII 0123456789",
    ])
    func validText(text: String) {
        expect(RawFrame.text(text).bytes, [.text(ByteBuffer(string: text))])
        // In fragments of one byte, borders inside characters included.
        var frames = Array(text.utf8).map { RawFrame(.continuation, [$0], isFinal: false) }
        frames.insert(RawFrame(.text, [], isFinal: false), at: 0)
        frames.append(RawFrame(.continuation, []))
        expect(frames.flatMap(\.bytes), [.text(ByteBuffer(string: text))])
    }

    @Test(
        arguments: [
            [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC3, 0x28], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
            [0xE2, 0x82], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80], [0xFE], [0xFF],
            [0xCE, 0xBA, 0xE1, 0xBD, 0xB9, 0xCF, 0x83, 0xCE, 0xBC, 0xCE, 0xB5, 0xED, 0xA0, 0x80, 0x65],
        ] as [[UInt8]]
    )
    func invalidText(payload: [UInt8]) {
        expect(RawFrame.text(payload).bytes, [], .invalidPayload)
        expect(RawFrame.text(Array("sixteen bytes of".utf8) + payload).bytes, [], .invalidPayload)
        let halves = [
            RawFrame(.text, Array(payload.prefix(1)), isFinal: false),
            RawFrame(.continuation, Array(payload.dropFirst())),
        ]
        expect(halves.flatMap(\.bytes), [], .invalidPayload)
        expect(RawFrame(.close, [0x03, 0xE8] + payload).bytes, [], .invalidPayload)
        expect(RawFrame.binary(payload).bytes, [.binary(ByteBuffer(bytes: payload))])
    }

    // 7: closing.

    @Test(arguments: [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
    func closeCodes(code: UInt16) {
        let payload = [UInt8(code >> 8), UInt8(code & 255)]
        expect(RawFrame(.close, payload).bytes, [.close(code: code, reason: "")])
        let reason = [UInt8](repeating: UInt8(ascii: "*"), count: 123)
        expect(
            RawFrame(.close, payload + reason).bytes,
            [.close(code: code, reason: String(decoding: reason, as: UTF8.self))]
        )
    }

    @Test(arguments: [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
    func invalidCloseCodes(code: UInt16) {
        expect(RawFrame(.close, [UInt8(code >> 8), UInt8(code & 255)]).bytes, [], .protocolError)
    }

    @Test func aCloseFrameIsTheLastThingRead() {
        let after = RawFrame.text("late").bytes + RawFrame(.ping, []).bytes
        expect(RawFrame(.close, []).bytes + after, [.close(code: nil, reason: "")])
        expect(RawFrame(.close, [0x03]).bytes, [], .protocolError)
        // Also within a fragmented message.
        expect(
            RawFrame(.text, [0x61], isFinal: false).bytes + RawFrame(.close, []).bytes + after,
            [.close(code: nil, reason: "")]
        )
    }

    @Test func afterAViolationNothingIsRead() throws {
        var decoder = WebSocketDecoder(role: .server)
        decoder.feed(ByteBuffer(bytes: [0xFF, 0xFF] + RawFrame.text("late").bytes))
        #expect(throws: WebSocketViolation.self) { _ = try decoder.next() }
        decoder.feed(ByteBuffer(bytes: RawFrame.text("late").bytes))
        #expect(try decoder.next() == nil)
    }

    // 9 and 10: large messages and many fragments.

    @Test(arguments: [64, 256, 997, 1_300, 65_536])
    func messagesInFragments(size: Int) {
        let text = [UInt8](repeating: UInt8(ascii: "*"), count: 65_536)
        var frames: [RawFrame] = []
        for start in stride(from: 0, to: text.count, by: size) {
            let end = min(start + size, text.count)
            let opcode: WebSocketOpcode = start == 0 ? .text : .continuation
            frames.append(RawFrame(opcode, Array(text[start..<end]), isFinal: end == text.count))
        }
        expect(frames.flatMap(\.bytes), [.text(ByteBuffer(bytes: text))], bytewise: false)
    }

    @Test func largeMessagesArriveInPieces() throws {
        let payload = (0..<4_194_304).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let bytes = RawFrame.binary(payload).bytes
        var decoder = WebSocketDecoder(role: .server, maxMessageBytes: payload.count)
        for start in stride(from: 0, to: bytes.count, by: 8_191) {
            #expect(try decoder.next() == nil)
            decoder.feed(ByteBuffer(bytes: bytes[start..<min(start + 8_191, bytes.count)]))
        }
        #expect(try decoder.next() == .binary(ByteBuffer(bytes: payload)))
    }

    @Test func oversizeIsRefusedByTheHeader() {
        let header = Array(RawFrame.text([UInt8](repeating: 0x61, count: 65_537)).bytes.prefix(14))
        expect(header, [], .messageTooBig)
        let huge: [UInt8] = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]
        expect(huge, [], .messageTooBig)
        let first = RawFrame(.text, [UInt8](repeating: 0x61, count: 65_530), isFinal: false).bytes
        let second = Array(RawFrame(.continuation, [UInt8](repeating: 0x61, count: 7)).bytes.prefix(6))
        expect(first + second, [], .messageTooBig, bytewise: false)
    }
}

/// A frame put together by hand, independent of the writer under test.
struct RawFrame {
    var opcode: WebSocketOpcode
    var payload: [UInt8]
    var isFinal = true
    var mask: [UInt8]? = [0xA1, 0x02, 0xF3, 0x44]

    init(_ opcode: WebSocketOpcode, _ payload: [UInt8], isFinal: Bool = true, mask: [UInt8]? = [0xA1, 2, 0xF3, 0x44]) {
        (self.opcode, self.payload, self.isFinal, self.mask) = (opcode, payload, isFinal, mask)
    }

    static func text(_ text: String, mask: [UInt8]? = [0xA1, 2, 0xF3, 0x44]) -> RawFrame {
        RawFrame(.text, Array(text.utf8), mask: mask)
    }

    static func text(_ payload: [UInt8]) -> RawFrame { RawFrame(.text, payload) }

    static func binary(_ payload: [UInt8]) -> RawFrame { RawFrame(.binary, payload) }

    var bytes: [UInt8] {
        var bytes = [opcode.rawValue | (isFinal ? 0x80 : 0)]
        let maskBit: UInt8 = mask == nil ? 0 : 0x80
        if payload.count < 126 {
            bytes.append(maskBit | UInt8(payload.count))
        } else if payload.count < 65_536 {
            bytes += [maskBit | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        } else {
            bytes.append(maskBit | 127)
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(payload.count >> shift & 255)) }
        }
        guard let mask else { return bytes + payload }
        return bytes + mask + payload.enumerated().map { $1 ^ mask[$0 % 4] }
    }
}

/// Feeds `bytes` to a server's decoder at once and one by one, and expects the same of both.
private func expect(
    _ bytes: [UInt8],
    _ messages: [WebSocketMessage],
    _ closeCode: CloseCode? = nil,
    bytewise: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    for pieces in bytewise ? [[bytes], bytes.map { [$0] }] : [[bytes]] {
        var decoder = WebSocketDecoder(role: .server)
        var decoded: [WebSocketMessage] = []
        var violation: WebSocketViolation?
        for piece in pieces {
            decoder.feed(ByteBuffer(bytes: piece))
            do throws(WebSocketViolation) {
                while let message = try decoder.next() { decoded.append(message) }
            } catch {
                violation = error
            }
        }
        #expect(decoded == messages, sourceLocation: sourceLocation)
        #expect(violation?.closeCode == closeCode, sourceLocation: sourceLocation)
    }
}
