import HTTPTypes
import ParleyWire
import PostgresClient
import Testing

@testable import ParleyServer

@Suite struct AccountsRouteTests {
    @Test func signingUpSignsIn() async throws {
        try await AccountsStack.with { stack in
            let body = #"{"username":"Ada","password":"correct horse","display_name":" Ada Lovelace "}"#
            let answer = try await stack.call(.post, "/v1/signup", body)
            #expect(answer.status == 201)
            #expect(answer.headers[.cacheControl] == "no-store")
            let session: SessionAnswer = try answer.decode()
            #expect(session.user.username == "ada")
            #expect(session.user.display_name == "Ada Lovelace")
            #expect(session.user.id.utf8.count == 12)
            #expect(session.expires_in == 600)
            #expect(stack.accounts.tokens.verify(session.access_token)?.user.description == session.user.id)
            let me = try await stack.call(.get, "/v1/me", token: session.access_token)
            #expect(me.status == 200)
            #expect(try me.decode(UserAnswer.self) == session.user)
            let stored = try await stack.pool.query("SELECT password_hash FROM users").decode(String.self)
            #expect(stored.count == 1)
            #expect(stored.allSatisfy { $0.hasPrefix("$scrypt$ln=10,r=8,p=1$") })
        }
    }

    @Test func usernamesAreTakenWhateverTheirCase() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            #expect(ada.user.display_name == "ada")
            let body = #"{"username":"ADA","password":"correct horse"}"#
            let again = try await stack.call(.post, "/v1/signup", body)
            #expect(again.problem == .conflict)
            // Two that race: the database decides.
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        let body = #"{"username":"bob","password":"correct horse"}"#
                        return try await stack.call(.post, "/v1/signup", body).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.sorted() == [201, 409, 409, 409])
        }
    }

    @Test func wrongPasswordAndUnknownUserAreAnsweredAlike() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let right = try await stack.logIn("Ada", password: "password-of-ada")
            #expect(right.status == 200)
            #expect(try right.decode(SessionAnswer.self).user == ada.user)
            let wrong = try await stack.logIn("ada", password: "password-of-bob")
            let unknown = try await stack.logIn("bob")
            let impossible = try await stack.logIn("no such name!")
            for answer in [wrong, unknown, impossible] {
                #expect(answer.problem == .unauthorized)
                #expect(answer.headers[.wwwAuthenticate] == "Bearer")
                #expect(answer.text == wrong.text)
            }
        }
    }

    @Test func signingInHashesAnewWhenTheCostChanged() async throws {
        try await AccountsStack.with(cost: ScryptCost(logN: 11, blockSize: 8, parallelism: 1)) { stack in
            _ = try await stack.signUp("ada")
            let cheap = PasswordHash(password: Array("password-of-ada".utf8), cost: .cheap)?.description
            _ = try await stack.pool.query("UPDATE users SET password_hash = \(cheap)")
            for _ in 0..<2 {
                let login = try await stack.logIn("ada")
                #expect(login.status == 200)
                let stored = try await stack.pool.query("SELECT password_hash FROM users").decode(String.self)
                #expect(stored.allSatisfy { $0.hasPrefix("$scrypt$ln=11,") })
            }
        }
    }

    @Test(arguments: [
        (#"{"username":"ab","password":"correct horse"}"#, "username:"),
        (#"{"username":"a b c","password":"correct horse"}"#, "username:"),
        (#"{"password":"correct horse"}"#, "username: is missing."),
        (#"{"username":7,"password":"correct horse"}"#, "username: expected a string."),
        (#"{"username":null,"password":"correct horse"}"#, "username:"),
        (#"{"username":"ada","password":"short"}"#, "password:"),
        (#"{"username":"ada"}"#, "password: is missing."),
        (#"{"username":"ada","password":"correct horse","display_name":""}"#, "display_name:"),
        (#"{"username":"ada","password":"correct horse","display_name":"a\u0000b"}"#, "display_name:"),
        (#"{"username":"ada","password":"correct horse","display_name":["a"]}"#, "display_name: expected a string."),
        ("[]", "body: expected an object."), (#""ada""#, "body: expected an object."),
    ])
    func badFieldsAreNamed(_ body: String, _ detail: String) async throws {
        try await AccountsStack.with { stack in
            let answer = try await stack.call(.post, "/v1/signup", body)
            #expect(answer.problem == .invalid)
            #expect(try answer.decode(ProblemAnswer.self).detail.hasPrefix(detail), "\(answer.text)")
        }
    }

    @Test func bodiesThatAreNoJSONAreBadFrames() async throws {
        try await AccountsStack.with { stack in
            let deep = String(repeating: "[", count: 8000)
            for body in ["", "{", "username=ada", #"{"username":"ada",}"#, "\u{0}", deep] {
                let answer = try await stack.call(.post, "/v1/signup", body)
                #expect(answer.problem == .badFrame, "\(body.prefix(20))")
            }
            let notUTF8 = Array(#"{"username":"ada","password":"correct horse"#.utf8) + [0xFF] + Array(#""}"#.utf8)
            #expect(try await stack.call(.post, "/v1/signup", bytes: notUTF8).problem == .badFrame)
            let large = #"{"username":"\#(String(repeating: "a", count: 17_000))"}"#
            let answer = try await stack.call(.post, "/v1/login", large)
            #expect(answer.problem == .tooLarge)
        }
    }

    @Test func tokensThatAreNoneAreUnauthorized() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let foreign = AccessTokens(keys: .ephemeral())
            let forged = try foreign.sign(user: .random(), login: .random())
            for token in [nil, "", "x", "a.b.c", forged, ada.access_token + "x", ada.refresh_token] {
                let answer = try await stack.call(.get, "/v1/me", token: token)
                #expect(answer.problem == .unauthorized)
                #expect(answer.headers[.wwwAuthenticate] == "Bearer")
            }
            stack.clock.advance(seconds: 570)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).status == 200)
            stack.clock.advance(seconds: 30)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).problem == .unauthorized)
        }
    }
}
