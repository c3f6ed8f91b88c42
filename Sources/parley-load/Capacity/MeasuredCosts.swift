import Foundation

/// What a message and a session cost the servers, as parley-load measured it.
struct MeasuredCosts {
    /// Processor time of a 1:1 message in microseconds, all processes of a group together: one send and two deliveries.
    struct Message: Decodable {
        var gateways: Double
        var workers: Double
        var redis: Double
        var postgres: Double
    }

    /// At 2,000 messages a second on two cores. When more come together, each costs less.
    var message = Message(gateways: 198, workers: 27, redis: 200, postgres: 27)
    /// A gateway's memory for an idle session in KiB, measured with 10,000.
    var sessionKiB = 5.3

    /// Bytes of PostgreSQL for a message of 100 characters, with its part of three indexes.
    static let storedBytes = 540.0
    /// Processor time of Redis for a delivery to a queue that is not on the conversation's shard, in microseconds.
    static let deliveryMicroseconds = 16.0
    /// Calls a second that keep a Redis busy: it does 190,000 position checks, or 430,000 PUBLISH to one subscriber.
    static let redisCalls = 180_000.0

    /// Bytes of Redis for an entry of a sync queue, with a message of 100 characters.
    static let queueEntryBytes = 300.0
    /// Bytes of Redis for a user who waits for nothing: an empty queue, one device, ten conversations of two.
    static let userBytes = 1_800.0
    /// Bytes of Redis for a pair channel to which two gateways have subscribed.
    static let pairBytes = 350.0
    /// Bytes of Redis for a send that is remembered, and for how many seconds it is: twice the window.
    static let (sendBytes, sendSeconds) = (200.0, 1_200.0)

    private struct Result: Decodable {
        let scenario: String
        let server_cpu_us_per_message: Message?
        let rss_kb_per_session: Double?
    }

    /// - Parameters:
    ///   - chat: the path of what `parley-load chat --json` wrote; without it, the defaults.
    ///   - connect: the path of what `parley-load connect --json` wrote; without it, the default.
    init(chat: String? = nil, connect: String? = nil) throws(LoadError) {
        if let chat {
            guard let message = try Self.read(chat, of: "chat").server_cpu_us_per_message, message.isMeasured else {
                throw LoadError("\(chat) has no processor time of a message: run chat with --stack")
            }
            self.message = message
        }
        if let connect {
            guard let memory = try Self.read(connect, of: "connect").rss_kb_per_session, memory > 0 else {
                throw LoadError("\(connect) has no memory of a session: run connect with --stack, on fresh gateways")
            }
            sessionKiB = memory
        }
    }

    private static func read(_ path: String, of scenario: String) throws(LoadError) -> Result {
        let data: Data
        do { data = try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
            throw LoadError("\(path) cannot be read: \(error.localizedDescription)")
        }
        guard let result = try? JSONDecoder().decode(Result.self, from: data), result.scenario == scenario else {
            throw LoadError("\(path) is not what parley-load \(scenario) --json writes")
        }
        return result
    }
}

extension MeasuredCosts.Message {
    fileprivate var isMeasured: Bool { gateways > 0 && workers >= 0 && redis > 0 && postgres >= 0 }
}
