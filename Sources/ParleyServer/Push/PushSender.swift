import Logging
import NIOCore
import Synchronization

/// Brings pushes to their providers, and keeps off those that fail.
final class PushSender: Sendable {
    /// What becomes of a push.
    enum Fate: Sendable, Hashable {
        case sent
        /// The device is to be forgotten.
        case gone
        /// To be tried again at that time, in milliseconds since 1970; `attempts` so far.
        case retry(at: Int64, attempts: Int)
        case dead(String)
    }

    private let providers: [PushProviderName: any PushProvider]
    private let http: PushHTTPClient
    private let schedule = RetrySchedule()
    private let breakers = Mutex<[String: CircuitBreaker]>([:])
    let counts = PushCounts()
    private let logger: Logger

    init(_ providers: [any PushProvider], http: PushHTTPClient, logger: Logger) {
        self.providers = Dictionary(uniqueKeysWithValues: providers.map { ($0.name, $0) })
        self.http = http
        self.logger = logger
    }

    /// Providers that are kept off at present, by how many breakers are open.
    var openBreakers: Int { breakers.withLock { $0.values.count { $0.isOpen } } }

    /// - Parameter attempts: how often it was tried before.
    func send(_ push: Push, attempts: Int) async -> Fate {
        let name = push.registration.address.provider
        guard let provider = providers[name] else { return .dead("\(name) is not configured") }
        var limit: Int?
        while true {
            let now = WallClock.milliseconds()
            guard push.expiry > now else { return .dead("its time was up") }
            let request: PushRequest
            do {
                request = try provider.request(for: push, limit: limit, now: now)
            } catch {
                counts.count(name, .refused(""))
                return .dead("\(error)")
            }
            let breaker = "\(name) \(request.url.origin)"
            let wait = breakers.withLock { $0[breaker, default: .init()].admit(at: now) }
            // What waits for a provider is not its own fault.
            guard wait == 0 else { return retry(push, attempts: attempts, after: wait - now) }
            let outcome = await exchange(request, push, provider)
            counts.count(name, outcome, nanoseconds: Int((WallClock.milliseconds() - now) * 1_000_000))
            judge(outcome, breaker)
            switch outcome {
            case .sent: return .sent
            case .gone(_, let since): return since.map { $0 < push.registration.registeredAt } == true ? .sent : .gone
            case .retry(_, let after), .limited(_, let after): return retry(push, attempts: attempts + 1, after: after)
            case .credentials:
                provider.renewCredentials()
                return retry(push, attempts: attempts, after: CircuitBreaker.longestPause)
            case .refused(let why): return .dead(why)
            case .tooLarge:
                let shorter = min(limit ?? .max, request.body.readableBytes) / 2
                guard shorter >= 128 else { return .dead("too large however short") }
                limit = shorter
            }
        }
    }

    private func exchange(_ request: PushRequest, _ push: Push, _ provider: any PushProvider) async -> PushOutcome {
        do {
            return provider.outcome(of: try await http.send(request), to: push)
        } catch PushError.forbiddenAddress(let address) {
            return .refused("\(PushError.forbiddenAddress(address))")
        } catch {
            return .retry("\(error)")
        }
    }

    private func judge(_ outcome: PushOutcome, _ name: String) {
        let now = WallClock.milliseconds()
        let (hasOpened, why) = breakers.withLock { breakers -> (Bool, String) in
            switch outcome {
            case .retry(let why, _): return (breakers[name, default: .init()].failed(at: now), why)
            case .credentials(let why): return (breakers[name, default: .init()].trip(at: now), why)
            // What works is not worth a record: origins are as many as users make them.
            case .sent, .gone, .limited, .tooLarge, .refused:
                breakers[name] = nil
                return (false, "")
            }
        }
        guard hasOpened else { return }
        if case .credentials = outcome {
            logger.error(
                "a push provider refuses our credentials",
                metadata: ["provider": "\(name)", "error": "\(why)"]
            )
        } else {
            logger.warning(
                "a push provider fails, and is left alone",
                metadata: ["provider": "\(name)", "error": "\(why)"]
            )
        }
    }

    private func retry(_ push: Push, attempts: Int, after: Int64?) -> Fate {
        var generator = SystemRandomNumberGenerator()
        let now = WallClock.milliseconds()
        let next = schedule.next(
            attempt: max(1, attempts),
            after: after,
            now: now,
            expiry: push.expiry,
            using: &generator
        )
        return next.map { .retry(at: $0, attempts: attempts) } ?? .dead("its time was up")
    }
}
