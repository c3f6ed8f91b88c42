import NIOCore
import ParleyWire

/// Names a message of this run: the last eight bytes of its cid, and sixteen hexadecimal digits at the front of its
/// body, so that every copy of it leads to its place in the ledger without a look-up.
struct MessageTag: Hashable, Sendable {
    static let digits = 16

    let low: UInt64

    /// - Parameters:
    ///   - run: 22 random bits, so that another run's messages are told apart.
    ///   - index: in the ledger, below 2^40.
    init(run: UInt32, index: Int) {
        low = 2 << 62 | UInt64(run & 0x3F_FFFF) << 40 | UInt64(index)
    }

    init(_ cid: ClientMessageID) {
        low = cid.low
    }

    init(low: UInt64) {
        self.low = low
    }

    /// Nil unless the body begins with a tag.
    init?(body: UnsafeRawBufferPointer) {
        guard body.count >= Self.digits else { return nil }
        var low: UInt64 = 0
        for index in 0..<Self.digits {
            let byte = body[index]
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte &- UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte &- UInt8(ascii: "a") &+ 10
            default: return nil
            }
            low = low << 4 | UInt64(digit)
        }
        self.low = low
    }

    /// The place in the ledger of that run; nil for a message of another.
    func index(run: UInt32) -> Int? {
        let index = Int(low & 0xFF_FFFF_FFFF)
        return low == MessageTag(run: run, index: index).low ? index : nil
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.digits) { text in
            for index in 0..<Self.digits {
                let digit = UInt8(truncatingIfNeeded: low >> UInt64(60 - 4 * index)) & 15
                text[index] = digit < 10 ? UInt8(ascii: "0") &+ digit : UInt8(ascii: "a") &+ digit &- 10
            }
            return Self.digits
        }
    }
}
