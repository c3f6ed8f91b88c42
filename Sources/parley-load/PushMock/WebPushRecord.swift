import Crypto
import Foundation
import NIOCore

/// The body of a push as a browser reads it (RFC 8188, 8291).
struct WebPushRecord {
    private let salt: [UInt8]
    private let recordSize: UInt32
    private let senderKey: [UInt8]
    private let sealed: [UInt8]

    init(_ body: ByteBuffer) throws {
        var body = body
        guard let salt = body.readBytes(length: 16), let recordSize = body.readInteger(as: UInt32.self),
            let length = body.readInteger(as: UInt8.self), let key = body.readBytes(length: Int(length)),
            let sealed = body.readBytes(length: body.readableBytes), sealed.count > 17
        else { throw LoadError("the header is not whole") }
        (self.salt, self.recordSize, senderKey, self.sealed) = (salt, recordSize, key, sealed)
    }

    func decrypted(by key: P256.KeyAgreement.PrivateKey, _ secret: [UInt8]) throws -> String {
        guard recordSize >= 18, sealed.count <= Int(recordSize) else { throw LoadError("more than one record") }
        let sender = try P256.KeyAgreement.PublicKey(x963Representation: senderKey)
        let shared = try key.sharedSecretFromKeyAgreement(with: sender)
        let info = Data("WebPush: info\0".utf8) + key.publicKey.x963Representation + Data(senderKey)
        let material = shared.hkdfDerivedSymmetricKey(
            using: SHA256.self,
            salt: secret,
            sharedInfo: info,
            outputByteCount: 32
        )
        func derived(_ label: String, _ count: Int) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: material,
                salt: salt,
                info: Data(label.utf8),
                outputByteCount: count
            )
        }
        let nonce = derived("Content-Encoding: nonce\0", 12).withUnsafeBytes { Data($0) }
        let box = try AES.GCM.SealedBox(
            nonce: .init(data: nonce),
            ciphertext: sealed.dropLast(16),
            tag: sealed.suffix(16)
        )
        var text = try AES.GCM.open(box, using: derived("Content-Encoding: aes128gcm\0", 16))
        while text.last == 0 { text.removeLast() }
        guard text.popLast() == 2 else { throw LoadError("not the last record") }
        guard let string = String(data: text, encoding: .utf8) else { throw LoadError("no UTF-8") }
        return string
    }
}

/// Whether who sends shows who they are (RFC 8292).
struct VAPIDCheck {
    /// Those that were right, with their ends: a token is used again and again.
    private var known: [String: Double] = [:]

    /// - Returns: what is wrong.
    mutating func problem(_ header: String?, audience: String) -> String? {
        let now = Date().timeIntervalSince1970
        guard let header, header.hasPrefix("vapid ") else { return "no VAPID" }
        if let end = known[header] { return end > now ? nil : "a token whose time is up" }
        let fields = header.dropFirst("vapid ".count).split(separator: ",").map {
            $0.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
        }
        guard let token = fields.first(where: { $0.first == "t" })?.last,
            let key = fields.first(where: { $0.first == "k" })?.last.flatMap({ base64URLDecoded($0) })
        else { return "VAPID without t and k" }
        let parts = token.split(separator: ".")
        guard parts.count == 3, let signature = base64URLDecoded(parts[2]),
            let publicKey = try? P256.Signing.PublicKey(x963Representation: key),
            let read = try? P256.Signing.ECDSASignature(rawRepresentation: signature),
            publicKey.isValidSignature(read, for: Data("\(parts[0]).\(parts[1])".utf8))
        else { return "a signature that does not fit" }
        let claims = base64URLDecoded(parts[1]).flatMap {
            try? JSONSerialization.jsonObject(with: $0) as? [String: Any]
        }
        guard claims?["aud"] as? String == audience else { return "another audience" }
        guard let end = claims?["exp"] as? Double, end > now else { return "a token whose time is up" }
        guard end <= now + 86_400 else { return "a token for more than a day" }
        guard let subject = claims?["sub"] as? String, subject.hasPrefix("mailto:") || subject.hasPrefix("https:")
        else {
            return "no subject"
        }
        if known.count > 1000 { known = [:] }
        known[header] = end
        return nil
    }
}
