public import NIOCore

/// Writes RFC 6455 frames: unmasked ones for a server, masked ones for a client, which owes each frame a fresh
/// random mask.
public enum WebSocketFrame {
    /// The longest header: two bytes, a 64-bit length, a mask.
    public static let maximumHeaderBytes = 14

    /// Appends one frame.
    /// - Parameters:
    ///   - isFinal: false for all fragments of a message but the last.
    ///   - mask: of any byte order, from a client alone.
    public static func write(
        _ opcode: WebSocketOpcode,
        _ payload: ByteBuffer = ByteBuffer(),
        isFinal: Bool = true,
        mask: UInt32? = nil,
        into buffer: inout ByteBuffer
    ) {
        buffer.reserveCapacity(minimumWritableBytes: payload.readableBytes + maximumHeaderBytes)
        writeHeader(opcode, isFinal: isFinal, length: payload.readableBytes, mask: mask, into: &buffer)
        let start = buffer.writerIndex
        buffer.writeImmutableBuffer(payload)
        if let mask { applyMask(mask, to: &buffer, from: start) }
    }

    /// Appends one text frame whose payload `body` appends: the JSON is written once, behind its header.
    public static func writeText(
        mask: UInt32? = nil,
        into buffer: inout ByteBuffer,
        _ body: (inout ByteBuffer) -> Void
    ) {
        // Most payloads take the two-byte length, so that header's room is left; the others are moved.
        let header = buffer.writerIndex
        let maskBytes = mask == nil ? 0 : 4
        let reserved = 4 + maskBytes
        buffer.writeRepeatingByte(0, count: reserved)
        body(&buffer)
        let length = buffer.writerIndex - header - reserved
        let needed = (length < 126 ? 2 : length <= 0xFFFF ? 4 : 10) + maskBytes
        if needed != reserved { buffer.moveTail(from: header + reserved, to: header + needed) }
        let end = buffer.writerIndex
        buffer.moveWriterIndex(to: header)
        writeHeader(.text, isFinal: true, length: length, mask: mask, into: &buffer)
        buffer.moveWriterIndex(to: end)
        if let mask { applyMask(mask, to: &buffer, from: header + needed) }
    }

    /// A buffer of its own with one text frame.
    /// - Parameter capacity: of the payload, as expected, in bytes.
    public static func text(capacity: Int = 256, _ body: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var buffer = ByteBufferAllocator().buffer(capacity: capacity + maximumHeaderBytes)
        writeText(into: &buffer, body)
        return buffer
    }

    /// Appends a server frame as an unmasked text frame.
    public static func write(_ frame: ServerFrame, into buffer: inout ByteBuffer) {
        writeText(into: &buffer) { frame.encode(into: &$0) }
    }

    /// Appends a client frame as a masked text frame.
    public static func write(_ frame: ClientFrame, mask: UInt32, into buffer: inout ByteBuffer) {
        writeText(mask: mask, into: &buffer) { frame.encode(into: &$0) }
    }

    /// Appends a close frame.
    /// - Parameter reason: cut to 123 bytes at a character's border; nil takes the code's own.
    public static func writeClose(
        _ code: CloseCode,
        reason: String? = nil,
        mask: UInt32? = nil,
        into buffer: inout ByteBuffer
    ) {
        var reason = Substring(reason ?? code.reason)
        while reason.utf8.count > 123 { reason.removeLast() }
        var payload = ByteBufferAllocator().buffer(capacity: 125)
        payload.writeInteger(code.rawValue)
        payload.writeSubstring(reason)
        write(.close, payload, mask: mask, into: &buffer)
    }

    private static func writeHeader(
        _ opcode: WebSocketOpcode,
        isFinal: Bool,
        length: Int,
        mask: UInt32?,
        into buffer: inout ByteBuffer
    ) {
        buffer.writeInteger(opcode.rawValue | (isFinal ? 0x80 : 0))
        let maskBit: UInt8 = mask == nil ? 0 : 0x80
        if length < 126 {
            buffer.writeInteger(UInt8(length) | maskBit)
        } else if length <= 0xFFFF {
            buffer.writeInteger(126 | maskBit)
            buffer.writeInteger(UInt16(length))
        } else {
            buffer.writeInteger(127 | maskBit)
            buffer.writeInteger(UInt64(length))
        }
        if let mask { buffer.writeInteger(mask, endianness: .little) }
    }

    private static func applyMask(_ mask: UInt32, to buffer: inout ByteBuffer, from start: Int) {
        let offset = start - buffer.readerIndex
        buffer.withUnsafeMutableReadableBytes { bytes in
            applyWebSocketMask(mask, to: UnsafeMutableRawBufferPointer(rebasing: bytes[offset...]))
        }
    }
}

extension ByteBuffer {
    /// Moves the written bytes from `source` on so that they start at `target`, and the writer index with them.
    fileprivate mutating func moveTail(from source: Int, to target: Int) {
        let count = writerIndex - source
        if target > source { writeRepeatingByte(0, count: target - source) }
        let base = readerIndex
        withUnsafeMutableReadableBytes { bytes in
            let tail = UnsafeRawBufferPointer(rebasing: bytes[(source - base)..<(source - base + count)])
            UnsafeMutableRawBufferPointer(rebasing: bytes[(target - base)...]).copyMemory(from: tail)
        }
        moveWriterIndex(to: target + count)
    }
}
