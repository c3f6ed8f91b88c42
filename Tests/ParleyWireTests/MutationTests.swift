import NIOCore
import ParleyWire
import Testing

/// Seeded: the same 20,000 inputs in every run.
@Suite struct MutationTests {
    static let rounds = 20_000

    /// One to four small damages.
    private func mutated(_ bytes: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
            let index = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: bytes[index] = UInt8.random(in: .min ... .max, using: &generator)
            case 2: bytes.remove(at: index)
            case 3:
                bytes.insert(
                    Array("{}[]\",:\\u0eE-+.truefalsnl\u{0}".utf8).randomElement(using: &generator)!,
                    at: index
                )
            case 4: bytes.removeSubrange(index...)
            default: bytes.insert(contentsOf: bytes[index..<min(index + 16, bytes.count)], at: index)
            }
        }
        return bytes
    }

    @Test func theScannerSurvivesAndAgreesWithItself() {
        var generator = SeededGenerator(seed: 1)
        let seeds = (ClientFrameTests.golden.map(\.0) + ServerFrameTests.golden.map(\.0)).map { Array($0.utf8) }
        var accepted = 0
        for _ in 0..<Self.rounds {
            let bytes = mutated(seeds.randomElement(using: &generator)!, using: &generator)
            bytes.withUnsafeBytes { bytes in
                var scanner = JSONScanner(bytes)
                guard let value = try? scanner.value(), (try? scanner.finish()) != nil else { return }
                accepted += 1
                walk(value)
            }
        }
        #expect(accepted > Self.rounds / 20 && accepted < Self.rounds)
    }

    /// Pulls a value apart that was accepted whole: each part must be accepted too.
    private func walk(_ value: JSONValue) {
        _ = (value.string(), value.integer(), value.double(), value.bool())
        var scanner = JSONScanner(value.bytes)
        #expect(throws: Never.self) {
            switch value.kind {
            case .object:
                try scanner.beginObject()
                while let key = try scanner.nextKey() {
                    walk(key)
                    walk(try scanner.value())
                }
            case .array:
                try scanner.beginArray()
                while try scanner.nextElement() { walk(try scanner.value()) }
            case .string:
                let text = value.string() ?? ""
                var written = ByteBuffer()
                written.writeJSONString(text)
                let again = try written.readableBytesSpan.withUnsafeBytes { bytes in
                    var scanner = JSONScanner(bytes)
                    return try scanner.value().string()
                }
                #expect(again == text)
                try scanner.skipValue()
            default:
                try scanner.skipValue()
            }
            try scanner.finish()
        }
    }

    @Test func theFrameDecodersSurvive() throws {
        var generator = SeededGenerator(seed: 2)
        let client = ClientFrameTests.golden.map { Array($0.0.utf8) }
        let server = ServerFrameTests.golden.map { Array($0.0.utf8) }
        var accepted = 0
        for _ in 0..<Self.rounds {
            let bytes = mutated(client.randomElement(using: &generator)!, using: &generator)
            if let frame = try? ClientFrame.decode(ByteBuffer(bytes: bytes)) {
                accepted += 1
                #expect(try decodeClient(encoded(frame)) == frame)
            }
            let other = mutated(server.randomElement(using: &generator)!, using: &generator)
            if let frame = try? ServerFrame.decode(ByteBuffer(bytes: other)) {
                #expect(try decodeServer(encoded(frame)) == frame)
            }
        }
        #expect(accepted > Self.rounds / 50 && accepted < Self.rounds)
    }

    @Test func randomFramesRoundTrip() throws {
        var random = RandomFrames(generator: SeededGenerator(seed: 3))
        for _ in 0..<Self.rounds / 4 {
            let client = random.clientFrame()
            #expect(try decodeClient(encoded(client)) == client)
            let server = random.serverFrame()
            #expect(try decodeServer(encoded(server)) == server)
        }
    }

    @Test func randomStreamsAreReassembled() throws {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<Self.rounds / 40 {
            let (stream, messages) = randomStream(using: &generator)
            var decoder = WebSocketDecoder(role: .server)
            var decoded: [WebSocketMessage] = []
            var rest = stream[...]
            while !rest.isEmpty {
                let piece = rest.prefix(Int.random(in: 1...400, using: &generator))
                rest = rest.dropFirst(piece.count)
                decoder.feed(ByteBuffer(bytes: piece))
                while let message = try decoder.next() { decoded.append(message) }
            }
            #expect(decoded == messages)
        }
    }

    @Test func theWebSocketDecoderSurvives() {
        var generator = SeededGenerator(seed: 5)
        var violations = 0
        for _ in 0..<Self.rounds {
            let frames = (0..<3).map { _ in randomFrame(using: &generator).bytes }
            let bytes = mutated(Array(frames.joined()), using: &generator)
            var decoder = WebSocketDecoder(role: .server, maxMessageBytes: 1_024)
            let cut = Int.random(in: 0...bytes.count, using: &generator)
            for piece in [bytes[..<cut], bytes[cut...]] {
                decoder.feed(ByteBuffer(bytes: piece))
                do throws(WebSocketViolation) {
                    while let message = try decoder.next() { check(message) }
                } catch {
                    violations += 1
                    #expect([.protocolError, .invalidPayload, .messageTooBig].contains(error.closeCode))
                }
            }
        }
        #expect(violations > Self.rounds / 4)
    }

    private func check(_ message: WebSocketMessage) {
        switch message {
        case .text(let payload):
            #expect(payload.readableBytes <= 1_024 && String(validating: payload.bytes, as: UTF8.self) != nil)
        case .binary(let payload): #expect(payload.readableBytes <= 1_024)
        case .ping(let payload), .pong(let payload): #expect(payload.readableBytes <= 125)
        case .close(let code, let reason): #expect(code ?? 1000 >= 1000 && reason.utf8.count <= 123)
        }
    }

    private func randomFrame(using generator: inout SeededGenerator) -> RawFrame {
        let opcode = [WebSocketOpcode.text, .binary, .ping, .pong, .continuation].randomElement(using: &generator)!
        let count = Int.random(in: 0...(opcode.rawValue < 8 ? 300 : 125), using: &generator)
        let mask = (0..<4).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        let payload = (0..<count).map { _ in UInt8.random(in: 0x20...0x7E, using: &generator) }
        return RawFrame(opcode, payload, isFinal: opcode.rawValue >= 8 || Bool.random(using: &generator), mask: mask)
    }

    /// A valid stream of messages in random fragments with control frames between, and what it says.
    private func randomStream(using generator: inout SeededGenerator) -> ([UInt8], [WebSocketMessage]) {
        var stream: [UInt8] = []
        var messages: [WebSocketMessage] = []
        for _ in 0..<Int.random(in: 1...6, using: &generator) {
            var whole: [UInt8] = []
            var frame = randomFrame(using: &generator)
            let opcode: WebSocketOpcode = Bool.random(using: &generator) ? .text : .binary
            frame.opcode = opcode
            while true {
                whole += frame.payload
                stream += frame.bytes
                if frame.isFinal { break }
                if Bool.random(using: &generator) {
                    let ping = RawFrame(.ping, Array(whole.suffix(20)))
                    stream += ping.bytes
                    messages.append(.ping(ByteBuffer(bytes: ping.payload)))
                }
                frame = randomFrame(using: &generator)
                frame.opcode = .continuation
            }
            messages.append(opcode == .text ? .text(ByteBuffer(bytes: whole)) : .binary(ByteBuffer(bytes: whole)))
        }
        return (stream, messages)
    }
}
