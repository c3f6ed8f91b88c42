import Crypto
import NIOCore

/// Encrypts for a browser: `aes128gcm` in one record (RFC 8188) under keys by RFC 8291.
struct WebPushCipher {
    /// A record is 4096 bytes: header of 86, a byte of padding and the tag of 16 leave this for the text.
    static let textLimit = 3993
    private static let recordSize: UInt32 = 4096

    static func isPublicKey(_ bytes: [UInt8]) -> Bool {
        bytes.count == 65 && (try? P256.KeyAgreement.PublicKey(x963Representation: bytes)) != nil
    }

    /// - Parameters:
    ///   - salt: 16 random bytes; never used twice.
    ///   - key: never used twice.
    static func encrypt(
        _ text: ByteBuffer,
        for keys: WebPushKeys,
        salt: [UInt8] = (0..<16).map { _ in .random(in: 0...255) },
        key: P256.KeyAgreement.PrivateKey = .init()
    ) throws -> ByteBuffer {
        precondition(text.readableBytes <= textLimit, "a text of \(text.readableBytes) bytes does not fit one record")
        let browser = try P256.KeyAgreement.PublicKey(x963Representation: keys.publicKey)
        let own = key.publicKey.x963Representation
        let shared = try key.sharedSecretFromKeyAgreement(with: browser)
        let (cipherKey, nonce) = Self.derive(shared, keys, ownPublicKey: Array(own), salt: salt)
        let sealed = try AES.GCM.seal(
            Array(text.readableBytesView) + [2],
            using: cipherKey,
            nonce: AES.GCM.Nonce(data: nonce)
        )
        var body = ByteBufferAllocator().buffer(capacity: 103 + text.readableBytes)
        body.writeBytes(salt)
        body.writeInteger(recordSize)
        body.writeInteger(UInt8(own.count))
        body.writeBytes(own)
        body.writeBytes(sealed.ciphertext)
        body.writeBytes(sealed.tag)
        return body
    }

    /// RFC 8291, section 3.4: HKDF with SHA-256, whose outputs here are one block at most.
    private static func derive(_ shared: SharedSecret, _ keys: WebPushKeys, ownPublicKey: [UInt8], salt: [UInt8]) -> (
        SymmetricKey, [UInt8]
    ) {
        func hmac(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
            Array(HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: key)))
        }
        let combined = hmac(keys.authSecret, shared.withUnsafeBytes { Array($0) })
        let secret = hmac(combined, Array("WebPush: info\0".utf8) + keys.publicKey + ownPublicKey + [1])
        let extracted = hmac(salt, secret)
        let cipherKey = hmac(extracted, Array("Content-Encoding: aes128gcm\0".utf8) + [1])
        let nonce = hmac(extracted, Array("Content-Encoding: nonce\0".utf8) + [1])
        return (SymmetricKey(data: cipherKey.prefix(16)), Array(nonce.prefix(12)))
    }
}
