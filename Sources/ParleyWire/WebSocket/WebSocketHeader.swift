/// The header of one frame (RFC 6455, section 5.2), checked for all that it alone can show.
struct WebSocketHeader {
    var isFinal: Bool
    var opcode: WebSocketOpcode
    /// In wire order, first byte lowest.
    var mask: UInt32?
    var payloadLength: Int
    /// Of the header itself, in bytes.
    var length: Int

    /// Reads the header at the start of `bytes`; nil while it is incomplete. Whatever its first two bytes break
    /// is refused without waiting for more.
    static func parse(
        _ bytes: UnsafeRawBufferPointer,
        role: WebSocketRole
    ) throws(WebSocketViolation) -> WebSocketHeader? {
        guard bytes.count >= 2 else { return nil }
        let (first, second) = (bytes[0], bytes[1])
        guard first & 0x70 == 0 else { throw .protocolError("a reserved bit is set") }
        guard let opcode = WebSocketOpcode(rawValue: first & 0x0F) else { throw .protocolError("reserved opcode") }
        let isFinal = first & 0x80 != 0
        let isMasked = second & 0x80 != 0
        switch role {
        case .server: guard isMasked else { throw .protocolError("a frame from the client is not masked") }
        case .client: guard !isMasked else { throw .protocolError("a frame from the server is masked") }
        }
        let short = Int(second & 0x7F)
        if opcode.isControl {
            guard isFinal else { throw .protocolError("a control frame is fragmented") }
            guard short <= 125 else { throw .protocolError("a control frame is longer than 125 bytes") }
        }

        let lengthBytes = short == 127 ? 8 : short == 126 ? 2 : 0
        let length = 2 + lengthBytes + (isMasked ? 4 : 0)
        guard bytes.count >= length else { return nil }
        var payloadLength = short
        if lengthBytes == 2 {
            payloadLength = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
            guard payloadLength > 125 else { throw .protocolError("a length is not minimal") }
        } else if lengthBytes == 8 {
            let wide = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt64.self))
            guard let exact = Int(exactly: wide) else { throw .protocolError("a length has its top bit set") }
            guard exact > 0xFFFF else { throw .protocolError("a length is not minimal") }
            payloadLength = exact
        }
        var mask: UInt32?
        if isMasked {
            mask = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: length - 4, as: UInt32.self))
        }
        return WebSocketHeader(
            isFinal: isFinal,
            opcode: opcode,
            mask: mask,
            payloadLength: payloadLength,
            length: length
        )
    }
}

/// XORs `bytes` with a mask in wire order, first byte lowest; masks and unmasks, eight bytes at a time.
func applyWebSocketMask(_ mask: UInt32, to bytes: UnsafeMutableRawBufferPointer) {
    let wide = (UInt64(mask) << 32 | UInt64(mask)).littleEndian
    var index = 0
    while index &+ 8 <= bytes.count {
        let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        bytes.storeBytes(of: word ^ wide, toByteOffset: index, as: UInt64.self)
        index &+= 8
    }
    while index < bytes.count {
        bytes[index] ^= UInt8(truncatingIfNeeded: mask >> UInt32(8 * (index & 3)))
        index &+= 1
    }
}
