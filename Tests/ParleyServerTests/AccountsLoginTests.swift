import HTTPTypes
import ParleyWire
import PostgresClient
import Testing

@testable import ParleyServer

/// The life of a sign-in: rotation, reuse, logging out, another password.
@Suite struct AccountsLoginTests {
    @Test func refreshTokensRotate() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            var token = ada.refresh_token
            for _ in 0..<3 {
                let answer = try await stack.refresh(token)
                #expect(answer.status == 200)
                #expect(answer.headers[.cacheControl] == "no-store")
                let session: SessionAnswer = try answer.decode()
                #expect(session.user == ada.user)
                #expect(session.refresh_token != token)
                let identity = stack.accounts.tokens.verify(session.access_token)
                #expect(identity?.login == stack.accounts.tokens.verify(ada.access_token)?.login)
                token = session.refresh_token
            }
        }
    }

    @Test func aLostAnswerIsRepeatedWithinTheGrace() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let first: SessionAnswer = try await stack.refresh(ada.refresh_token).decode()
            let again: SessionAnswer = try await stack.refresh(ada.refresh_token).decode()
            #expect(again.refresh_token == first.refresh_token)
            // Two tabs that race get the same successor, and both go on.
            let tokens = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        try await stack.refresh(first.refresh_token).decode(SessionAnswer.self).refresh_token
                    }
                }
                return try await group.reduce(into: Set()) { $0.insert($1) }
            }
            #expect(tokens.count == 1)
            #expect(stack.revocations.count == 0)
        }
    }

    @Test func reuseAfterTheGraceEndsTheSignIn() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let stolen = ada.refresh_token
            let current: SessionAnswer = try await stack.refresh(stolen).decode()
            _ = try await stack.pool.query("UPDATE logins SET rotated_at = rotated_at - interval '11 seconds'")
            // Where revoking fails nothing has happened yet, and the next try finds the same.
            stack.revocations.setAway(true)
            #expect(try await stack.refresh(stolen).problem == .unavailable)
            stack.revocations.setAway(false)
            #expect(try await stack.refresh(stolen).problem == .unauthorized)
            #expect(try await stack.refresh(current.refresh_token).problem == .unauthorized)
            #expect(try await stack.call(.get, "/v1/me", token: current.access_token).problem == .unauthorized)
            // Others of the same person's are untouched.
            #expect(try await stack.logIn("ada").status == 200)
        }
    }

    @Test func unusedTokensExpireAndUnknownOnesAreRefused() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            _ = try await stack.pool.query("UPDATE logins SET rotated_at = rotated_at - interval '90 days'")
            #expect(try await stack.refresh(ada.refresh_token).problem == .unauthorized)
            for token in ["", "x", RefreshToken.first().text] {
                #expect(try await stack.refresh(token).problem == .unauthorized)
            }
            let missing = try await stack.call(.post, "/v1/token", "{}")
            #expect(missing.problem == .invalid)
        }
    }

    @Test func loggingOutRevokesBeforeItAnswers() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let other: SessionAnswer = try await stack.logIn("ada").decode()
            stack.revocations.setAway(true)
            #expect(try await stack.call(.post, "/v1/logout", token: ada.access_token).problem == .unavailable)
            #expect(try await stack.refresh(ada.refresh_token).status == 200)
            stack.revocations.setAway(false)
            // Repeating it is as good as the first time: its answer may have been lost.
            for _ in 0..<2 {
                let answer = try await stack.call(.post, "/v1/logout", token: ada.access_token)
                #expect(answer.status == 204)
                #expect(answer.body.isEmpty)
            }
            #expect(stack.revocations.count == 1)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).problem == .unauthorized)
            #expect(try await stack.refresh(ada.refresh_token).problem == .unauthorized)
            #expect(try await stack.call(.get, "/v1/me", token: other.access_token).status == 200)
            #expect(try await stack.call(.post, "/v1/logout").problem == .unauthorized)
        }
    }

    @Test func anotherPasswordEndsTheOtherSignIns() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let other: SessionAnswer = try await stack.logIn("ada").decode()
            let wrong = #"{"current_password":"password-of-bob","new_password":"another horse"}"#
            #expect(
                try await stack.call(.put, "/v1/me/password", token: ada.access_token, wrong).problem == .forbidden
            )
            let short = #"{"current_password":"password-of-ada","new_password":"short"}"#
            #expect(try await stack.call(.put, "/v1/me/password", token: ada.access_token, short).problem == .invalid)
            let right = #"{"current_password":"password-of-ada","new_password":"another horse"}"#
            #expect(try await stack.call(.put, "/v1/me/password", token: ada.access_token, right).status == 204)
            #expect(try await stack.call(.get, "/v1/me", token: ada.access_token).status == 200)
            #expect(try await stack.refresh(ada.refresh_token).status == 200)
            #expect(try await stack.call(.get, "/v1/me", token: other.access_token).problem == .unauthorized)
            #expect(try await stack.refresh(other.refresh_token).problem == .unauthorized)
            #expect(try await stack.logIn("ada").problem == .unauthorized)
            #expect(try await stack.logIn("ada", password: "another horse").status == 200)
        }
    }

    /// Credentials that were read before the password changed sign nobody in.
    @Test func signingInCannotRaceWithAnotherPassword() async throws {
        try await AccountsStack.with { stack in
            let ada = try await stack.signUp("ada")
            let store = stack.accounts.store
            let username = try #require(Username("ada"))
            let credentials = try #require(try await store.credentials(username: username))
            let identity = try #require(stack.accounts.tokens.verify(ada.access_token))
            let changed = try await store.changePassword(
                credentials,
                to: "$scrypt$other",
                keeping: identity.login,
                revoking: stack.revocations
            )
            #expect(changed)
            #expect(try await !store.add(AccountStore.NewLogin(device: nil), of: credentials))
            let again = try await store.changePassword(
                credentials,
                to: "$scrypt$third",
                keeping: identity.login,
                revoking: stack.revocations
            )
            #expect(!again)
        }
    }
}
