import NIOCore

/// The client's side of the opening handshake (RFC 6455, section 4), written and read without an HTTP pipeline.
package enum WebSocketHandshake {
    /// More than any gateway's answer, in bytes.
    static let maximumAnswerBytes = 16_384

    /// A fresh Sec-WebSocket-Key: 16 random bytes in base64.
    package static func randomKey() -> String {
        var generator = SystemRandomNumberGenerator()
        return base64((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    static func request(to address: GatewayAddress, key: String) -> ByteBuffer {
        ByteBuffer(
            string: """
                GET /v1/ws HTTP/1.1\r
                Host: \(address.authority)\r
                Upgrade: websocket\r
                Connection: Upgrade\r
                Sec-WebSocket-Version: 13\r
                Sec-WebSocket-Protocol: parley.v1\r
                Sec-WebSocket-Key: \(key)\r
                \r

                """
        )
    }

    /// Takes the answer off the front of `input`, which may go on with frames.
    /// - Returns: false while the answer is incomplete.
    /// - Throws: `handshakeFailed`, naming the status line or the header that is wrong.
    static func readAnswer(from input: inout ByteBuffer, key: String) throws(ClientError) -> Bool {
        let view = input.readableBytesView
        guard let end = endOfHeaders(view) else {
            guard view.count <= maximumAnswerBytes else { throw failed("an endless answer") }
            return false
        }
        var lines = String(decoding: view[..<end], as: UTF8.self).split(separator: "\r\n")[...]
        let status = lines.popFirst() ?? ""
        guard status.hasPrefix("HTTP/1.1 101") else { throw failed(String(status)) }
        var fields: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            fields[line[..<colon].lowercased()] = String(value)
        }
        guard fields["upgrade"]?.lowercased() == "websocket" else { throw failed("no upgrade to websocket") }
        guard fields["sec-websocket-accept"] == accept(key: key) else { throw failed("wrong Sec-WebSocket-Accept") }
        guard fields["sec-websocket-protocol"] ?? "parley.v1" == "parley.v1" else { throw failed("wrong subprotocol") }
        input.moveReaderIndex(to: end + 4)
        return true
    }

    /// What a server answers to a key.
    package static func accept(key: String) -> String {
        base64(SHA1.hash(Array("\(key)258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8)))
    }

    private static func failed(_ why: String) -> ClientError {
        ClientError(.handshakeFailed, "the WebSocket handshake failed: \(why)")
    }

    private static func endOfHeaders(_ view: ByteBufferView) -> Int? {
        var index = view.startIndex
        while let carriage = view[index...].firstIndex(of: 13), carriage + 3 < view.endIndex {
            if view[carriage + 1] == 10, view[carriage + 2] == 13, view[carriage + 3] == 10 { return carriage }
            index = carriage + 1
        }
        return nil
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let bits = group.reduce(0) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
            for digit in 0..<4 {
                text.append(
                    digit > group.count ? UInt8(ascii: "=") : alphabet[Int(bits >> UInt32(18 - 6 * digit) & 63)]
                )
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
