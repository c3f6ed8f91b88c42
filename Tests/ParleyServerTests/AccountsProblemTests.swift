import HTTPTypes
import Hummingbird
import ParleyWire
import PostgresClient
import Testing

@testable import ParleyServer

/// Whatever goes wrong over HTTP, the answer is a problem with one of the contract's codes.
@Suite struct AccountsProblemTests {
    struct Unexpected: Error {}

    private func answer(to error: any Error & Sendable) async throws -> TestAPI.Answer {
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        router.get("/fails") { _, _ -> String in throw error }
        return try await TestAPI(router: router).call(.get, "/fails")
    }

    @Test(arguments: ErrorCode.allCases)
    func everyCodeHasItsStatus(_ code: ErrorCode) async throws {
        let answer = try await answer(to: HTTPProblem(code, "Because."))
        #expect(answer.problem == code)
        let problem: ProblemAnswer = try answer.decode()
        #expect(problem.detail == "Because.")
        let asksToRetry = [ErrorCode.rateLimited, .overloaded, .unavailable].contains(code)
        #expect((problem.retry_ms != nil) == asksToRetry)
        #expect(answer.headers[.retryAfter] == (asksToRetry ? "1" : nil))
        #expect(answer.headers[.wwwAuthenticate] == (code == .unauthorized ? "Bearer" : nil))
    }

    @Test func retryAfterRoundsUp() async throws {
        let answer = try await answer(to: HTTPProblem(.overloaded, "Later.", retryMilliseconds: 1001))
        #expect(answer.headers[.retryAfter] == "2")
        #expect(try answer.decode(ProblemAnswer.self).retry_ms == 1001)
    }

    @Test(arguments: [
        (400, ErrorCode.badFrame), (401, .unauthorized), (403, .forbidden), (404, .notFound), (405, .notFound),
        (409, .conflict), (413, .tooLarge), (415, .badFrame), (422, .invalid), (429, .rateLimited),
        (500, .unavailable), (503, .unavailable),
    ])
    func hummingbirdsErrorsAreTranslated(_ status: Int, _ code: ErrorCode) async throws {
        let bare = try await answer(to: HTTPError(HTTPResponse.Status(code: status)))
        #expect(bare.problem == code)
        let told = try await answer(to: HTTPError(HTTPResponse.Status(code: status), message: "Told."))
        #expect(try told.decode(ProblemAnswer.self).detail == "Told.")
    }

    @Test(arguments: [
        (PostgresError(.acquireTimeout, "secret"), ErrorCode.overloaded),
        (PostgresError(.connectionFailed, "secret"), .unavailable),
        (PostgresError(.unknownOutcome, "secret"), .unavailable), (PostgresError(.server, "secret"), .unavailable),
    ])
    func theDatabasesErrorsAreNotShown(_ error: PostgresError, _ code: ErrorCode) async throws {
        let answer = try await answer(to: error)
        #expect(answer.problem == code)
        #expect(!answer.text.contains("secret"))
    }

    @Test func unexpectedErrorsAndUnknownRoutes() async throws {
        #expect(try await answer(to: Unexpected()).problem == .unavailable)
        let router = Router(context: ParleyRequestContext.self)
        router.add(middleware: ProblemMiddleware())
        router.get("/known") { _, _ in "here" }
        let api = TestAPI(router: router)
        #expect(try await api.call(.get, "/known").text == "here")
        #expect(try await api.call(.get, "/unknown").problem == .notFound)
        #expect(try await api.call(.delete, "/known").problem == .notFound)
        #expect(try await api.call(.get, "/").problem == .notFound)
    }
}
