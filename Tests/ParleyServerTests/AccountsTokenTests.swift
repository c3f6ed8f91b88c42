import ParleyWire
import Testing

@testable import ParleyServer

@Suite struct AccountsTokenTests {
    static let start: Int64 = 1_700_000_000_000
    static let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    static let otherSecret = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    /// Made by Python's hmac from the secret above.
    static let golden =
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0"
        + ".eyJhdWQiOiJwYXJsZXkiLCJleHAiOjE3MDAwMDA2MDAsImlhdCI6MTcwMDAwMDAwMCwiaXNzIjoicGFybGV5IiwibG9naW4i"
        + "OiJsb2dpbjEiLCJzdWIiOiJhbGljZSJ9.SOAKmHA_kaycGRvmxhS7Er23NnpFX2KEtZhzSVUJDFM"

    let user = UserID("alice")!
    let login = LoginID("login1")!

    func tokens(
        _ keys: String = "k1:\(secret)",
        audience: String = "parley",
        at now: Int64 = start
    ) throws -> AccessTokens {
        AccessTokens(keys: try TokenKeys(text: keys), audience: audience, now: { now })
    }

    @Test func signsAndVerifies() throws {
        let tokens = try tokens()
        #expect(try tokens.sign(user: user, login: login) == Self.golden)
        let identity = Identity(user: user, login: login, expiresAt: Self.start + 600_000)
        #expect(tokens.verify(Self.golden) == identity)
    }

    @Test func expiresToTheMillisecond() throws {
        #expect(try tokens(at: Self.start + 599_999).verify(Self.golden) != nil)
        #expect(try tokens(at: Self.start + 600_000).verify(Self.golden) == nil)
    }

    @Test func refusesAnotherAudience() throws {
        #expect(try tokens(audience: "other").verify(Self.golden) == nil)
    }

    @Test func refusesAnotherKeyAndAnotherKeyID() throws {
        #expect(try tokens("k1:\(Self.otherSecret)").verify(Self.golden) == nil)
        #expect(try tokens("k2:\(Self.secret)").verify(Self.golden) == nil)
    }

    @Test func rotatesKeys() throws {
        let rotated = try tokens("k2:\(Self.otherSecret)\nk1:\(Self.secret)")
        #expect(rotated.verify(Self.golden) != nil)
        let new = try rotated.sign(user: user, login: login)
        #expect(rotated.verify(new) != nil)
        #expect(try tokens().verify(new) == nil)
    }

    @Test func refusesEveryChangedCharacter() throws {
        let tokens = try tokens()
        let characters = Array(Self.golden)
        for index in characters.indices {
            var changed = characters
            changed[index] = changed[index] == "A" ? "B" : "A"
            #expect(tokens.verify(String(changed)) == nil, "character \(index)")
        }
    }

    @Test func refusesOtherHeaders() throws {
        let tokens = try tokens()
        let parts = Self.golden.split(separator: ".").map(String.init)
        let headers = [
            #"{"alg":"none"}"#, #"{"alg":"none","kid":"k1","typ":"JWT"}"#, #"{"alg":"HS512","kid":"k1","typ":"JWT"}"#,
            #"{"alg":"HS256","typ":"JWT"}"#, #"{"alg":"RS256","kid":"k1","typ":"JWT"}"#, "", "{}",
        ]
        for header in headers {
            let encoded = Base64.url.encode(header.utf8)
            #expect(tokens.verify("\(encoded).\(parts[1]).\(parts[2])") == nil)
            #expect(tokens.verify("\(encoded).\(parts[1]).") == nil)
        }
    }

    @Test(arguments: ["", ".", "..", "...", "a.b.c", "\0", String(repeating: "a.", count: 2000)])
    func refusesWhatIsNoToken(_ text: String) throws {
        let tokens = try tokens()
        #expect(tokens.verify(text) == nil)
        #expect(tokens.verify(Self.golden + text) == nil || text.isEmpty)
    }

    /// Claims that are signed with the right key but lack something, or name what cannot be.
    @Test(arguments: [
        #"{"aud":"parley","exp":1700000600,"iat":1700000000,"iss":"other","login":"login1","sub":"alice"}"#,
        #"{"aud":"parley","exp":1700000600,"iat":1700000000,"iss":"parley","sub":"alice"}"#,
        #"{"aud":"parley","exp":1700000600,"iat":1700000000,"iss":"parley","login":"login1","sub":"A/B"}"#,
        #"{"aud":"parley","iat":1700000000,"iss":"parley","login":"login1","sub":"alice"}"#,
        #"{"aud":"parley","exp":9223372036854775807,"iat":1,"iss":"parley","login":"login1","sub":"alice"}"#,
        "[]", "null", "{", "",
    ])
    func refusesOtherClaims(_ claims: String) throws {
        #expect(try tokens().verify(tokens().signed(claims)) == nil)
        let good = #"{"aud":"parley","exp":1700000600,"iat":1,"iss":"parley","login":"login1","sub":"alice"}"#
        #expect(try tokens().verify(tokens().signed(good))?.user == user)
    }

    @Test func readsKeyFiles() throws {
        let keys = try TokenKeys(text: "# ours\r\n\r\nnew:\(Self.otherSecret)=\r\n \(Self.secret)= \n").keys
        #expect(keys.map(\.id) == ["new", "Yw3NKWbE"])
    }

    @Test(arguments: [
        ("", 1, TokenKeysError.Code.noKey), ("# nothing\n", 1, .noKey), ("\nAAAA", 2, .badSecret),
        ("k1:", 1, .badSecret), ("k1:???", 1, .badSecret), ("k\"1:\(secret)", 1, .badKeyID),
        (":\(secret)", 1, .badKeyID), ("k1:\(secret)\nk1:\(otherSecret)", 2, .repeatedKeyID),
        ("\(secret)\n\(secret)", 2, .repeatedKeyID),
    ])
    func namesTheLineOfABadKeyFile(_ text: String, _ line: Int, _ code: TokenKeysError.Code) {
        #expect(throws: TokenKeysError(code: code, line: line)) { try TokenKeys(text: text) }
    }

    @Test func base64IsStrict() {
        for count in 0..<50 {
            let bytes = (0..<count).map { UInt8($0 * 37 % 256) }
            let text = Base64.standard.encode(bytes)
            #expect(Base64.standard.decode(text) == bytes)
            #expect(Base64.standard.decode(text + String(repeating: "=", count: (4 - text.count % 4) % 4)) == bytes)
        }
        for bad in ["A", "AAAAA", "AB", "AAB", "=", "A=", "AA-A", "AA A", "AAAA===="] {
            #expect(Base64.standard.decode(bad) == nil, "\(bad)")
        }
    }
}
