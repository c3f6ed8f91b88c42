import Crypto

/// The secrets that sign access tokens: the first signs, all verify.
///
/// To rotate without signing anybody out, put the new key first on every gateway, and drop the old one an access
/// token's lifetime later.
public struct TokenKeys: Sendable {
    struct Key: Sendable {
        let id: String
        let secret: SymmetricKey
    }

    let keys: [Key]

    /// Reads a key file's text: one key a line, as `kid:base64` or as bare base64, whose kid then follows from the
    /// secret. A secret has 32 bytes or more. Empty lines and lines that begin with `#` are skipped.
    public init(text: String) throws(TokenKeysError) {
        var keys: [Key] = []
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let line = line.filter { !$0.isWhitespace }
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let secret = Base64.standard.decode(parts[parts.count - 1]), secret.count >= 32 else {
                throw TokenKeysError(code: .badSecret, line: index + 1)
            }
            let id = parts.count == 2 ? String(parts[0]) : Self.fingerprint(secret)
            guard (1...64).contains(id.utf8.count), id.utf8.allSatisfy(Self.isPlain) else {
                throw TokenKeysError(code: .badKeyID, line: index + 1)
            }
            guard !keys.contains(where: { $0.id == id }) else {
                throw TokenKeysError(code: .repeatedKeyID, line: index + 1)
            }
            keys.append(Key(id: id, secret: SymmetricKey(data: secret)))
        }
        guard !keys.isEmpty else { throw TokenKeysError(code: .noKey, line: 1) }
        self.keys = keys
    }

    /// One random key that no other process knows: tokens are then good for this process only, while it runs.
    public static func ephemeral() -> TokenKeys {
        TokenKeys(keys: [Key(id: "ephemeral", secret: SymmetricKey(size: .bits256))])
    }

    private init(keys: [Key]) {
        self.keys = keys
    }

    private static func fingerprint(_ secret: [UInt8]) -> String {
        Base64.url.encode(SHA256.hash(data: secret).prefix(6))
    }

    /// What may stand in a JSON string as it is.
    private static func isPlain(_ byte: UInt8) -> Bool {
        let character = Character(UnicodeScalar(byte))
        return character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
    }
}

/// Why a key file cannot be used. Names the line, never its content.
public struct TokenKeysError: Error, Equatable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case badSecret = "a key is base64 of 32 bytes or more, as `openssl rand -base64 32` prints it"
        case badKeyID = "a key id is 1-64 of [A-Za-z0-9._-]"
        case repeatedKeyID = "this key id stands on an earlier line too"
        case noKey = "there is no key in the file"
    }

    public let code: Code
    public let line: Int

    public var description: String { "token keys, line \(line): \(code.rawValue)" }
}
