import Crypto

/// What a client keeps to get new access tokens: opaque, good once, stored only as a hash.
///
/// The text is base64url of 16 bytes that all tokens of a login share, its family key, and 32 bytes of its own. The
/// family key finds the login of a token that was replaced long ago, so that its reuse is noticed without keeping
/// every old hash; it is as secret as the token, so only a holder of some token of the family can cause that.
struct RefreshToken: Sendable, Equatable {
    static let familyLength = 16
    static let secretLength = 32

    let family: [UInt8]
    let secret: [UInt8]

    /// The first token of a new family.
    static func first() -> RefreshToken {
        RefreshToken(family: randomBytes(familyLength), secret: randomBytes(secretLength))
    }

    /// A random next token of the same family.
    func next() -> RefreshToken {
        RefreshToken(family: family, secret: Self.randomBytes(Self.secretLength))
    }

    var text: String { Base64.url.encode(family + secret) }

    /// SHA-256 of the family key: finds the login.
    var familyHash: [UInt8] { Array(SHA256.hash(data: family)) }

    /// SHA-256 of the whole token.
    var hash: [UInt8] { Array(SHA256.hash(data: family + secret)) }

    /// Hides a successor so that only a holder of this token can read it: a one-time pad, since a token seals one
    /// successor in its life, and the pad is a pseudorandom function of a secret that is not stored.
    func seal(_ successor: RefreshToken) -> [UInt8] {
        pad(successor.secret)
    }

    /// The inverse of ``seal(_:)``.
    func open(_ sealed: [UInt8]) -> RefreshToken {
        RefreshToken(family: family, secret: pad(sealed))
    }

    private func pad(_ bytes: [UInt8]) -> [UInt8] {
        let label = Array("parley refresh successor".utf8)
        let pad = HMAC<SHA256>.authenticationCode(for: label, using: SymmetricKey(data: secret))
        return zip(bytes, pad).map { $0 ^ $1 }
    }

    private static func randomBytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255) }
    }
}

extension RefreshToken {
    /// Reads what a client presents; nil if it cannot be a token.
    init?(_ text: String) {
        guard text.utf8.count == (Self.familyLength + Self.secretLength) * 4 / 3,
            let bytes = Base64.url.decode(text)
        else { return nil }
        self.init(family: Array(bytes.prefix(Self.familyLength)), secret: Array(bytes.dropFirst(Self.familyLength)))
    }
}

/// What is stored of a login's refresh tokens, and what follows when one is presented.
///
/// Rotation: the current token is replaced by a new one. A client whose answer was lost repeats the old one: within
/// the grace it gets the very same successor again (not a second one, so that two tabs that raced hold the same), after
/// it, or with any other token of the family, somebody holds a token that they should not: the family ends.
struct RefreshFamily: Sendable, Equatable {
    /// How long a replaced token may be repeated, in milliseconds.
    static let grace: Int64 = 10_000
    /// How long an unused token stays good: 90 days, in milliseconds.
    static let lifetime: Int64 = 90 * 86_400_000

    enum Decision: Equatable {
        /// Replace the current token by a new one.
        case rotate
        /// Answer with this token, which already is the current one.
        case answerAgain(RefreshToken)
        /// Somebody reused an old token: revoke the login.
        case revoke
        /// The token was not used for too long: drop the login.
        case expire
    }

    var currentHash: [UInt8]
    /// Of the token before, once there was a rotation; with what it sealed.
    var previousHash: [UInt8]?
    var sealedSuccessor: [UInt8]?
    /// Milliseconds since the current token was made.
    var age: Int64

    func decide(presented token: RefreshToken) -> Decision {
        if age >= Self.lifetime { return .expire }
        if token.hash == currentHash { return .rotate }
        if token.hash == previousHash, age <= Self.grace, let sealedSuccessor {
            let successor = token.open(sealedSuccessor)
            if successor.hash == currentHash { return .answerAgain(successor) }
        }
        return .revoke
    }
}
