import NIOCore

/// Why a client is told to go to another gateway, as `goaway` says it.
enum DepartureReason: String, Sendable {
    /// This one ends.
    case drain
    /// This one has far more sessions than the others.
    case rebalance
    /// This one is cut off from Redis.
    case unavailable
}

// Who is told to go elsewhere.
extension SessionHub {
    /// Tells all to go, and ends their sessions within the drain window.
    func drain() {
        eventLoop.execute {
            for reader in self.readers.values { reader.drain() }
        }
    }

    /// Sessions that were told to go, and are still here.
    func toldToGo(since time: NIODeadline) async -> Int {
        (try? await eventLoop.submit { self.toldToGo.values.count { $0 >= time } }.get()) ?? 0
    }

    /// Tells some sessions to go, within a second.
    /// - Parameters:
    ///   - count: at most.
    ///   - time: those who were told since then are not told again.
    ///   - url: where to, for each anew; nil tells no more.
    /// - Returns: how many were told.
    func tellToGo(
        _ count: Int,
        _ reason: DepartureReason,
        unlessSince time: NIODeadline,
        to url: @escaping @Sendable () -> String?
    ) async -> Int {
        let told = eventLoop.submit {
            let sessions = self.readers.values.lazy.compactMap { $0 as? Session }.filter {
                $0.stage == .attached && self.toldToGo[$0.id].map { $0 < time } ?? true
            }
            var told = 0
            for session in sessions.prefix(count) {
                guard let url = url() else { break }
                session.tellToGo(reason, after: .milliseconds(.random(in: 0...1000)), to: url)
                self.toldToGo[session.id] = .now()
                told += 1
            }
            return told
        }
        return (try? await told.get()) ?? 0
    }
}

extension SessionHubs {
    func toldToGo(since time: NIODeadline) async -> Int {
        var told = 0
        for hub in all { told += await hub.toldToGo(since: time) }
        return told
    }

    /// As of one hub, taken from all.
    func tellToGo(
        _ count: Int,
        _ reason: DepartureReason,
        unlessSince time: NIODeadline,
        to url: @escaping @Sendable () -> String?
    ) async -> Int {
        var told = 0
        for hub in all.shuffled() where told < count {
            told += await hub.tellToGo(count - told, reason, unlessSince: time, to: url)
        }
        return told
    }
}
