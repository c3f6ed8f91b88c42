import NIOCore
import ParleyWire

/// SplitMix64 (Steele, Lea, Flood 2014): the same sequence in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension ByteBuffer {
    var bytes: [UInt8] { Array(readableBytesView) }
    var text: String { String(buffer: self) }
}

func encoded(_ frame: ClientFrame) -> String {
    var buffer = ByteBuffer()
    frame.encode(into: &buffer)
    return buffer.text
}

func encoded(_ frame: ServerFrame) -> String {
    var buffer = ByteBuffer()
    frame.encode(into: &buffer)
    return buffer.text
}

func decodeClient(_ text: String) throws(FrameError) -> ClientFrame {
    try ClientFrame.decode(ByteBuffer(string: text))
}

func decodeServer(_ text: String) throws(FrameError) -> ServerFrame {
    try ServerFrame.decode(ByteBuffer(string: text))
}

enum Sample {
    static let cid = ClientMessageID("019abcde-f012-7abc-8def-0123456789ab")!
    static let mid = MessageID("123456789012345678")!
    static let alice = UserID("alice0000001")!
    static let bob = UserID("bob000000002")!
    static let direct = ConversationID.direct(bob, alice)
    static let group = ConversationID("g:team")!
    static let device = DeviceID("Phone-1.a_b")!
}
