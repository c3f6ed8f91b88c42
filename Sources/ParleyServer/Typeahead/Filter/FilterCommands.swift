import ParleyCore
import PostgresClient
import RedisClient

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// `parley typeahead block`, `unblock` and `rules`.
struct FilterCommands: Sendable {
    let store: RuleStore
    let redis: RedisClient
    /// How long gateways may take before somebody is told which did not.
    var patience = Duration.seconds(15)

    /// A gateway that was not heard of for so long is gone; milliseconds.
    private static let silence: Int64 = 6000

    /// A gateway as it tells of itself.
    private struct Seen {
        let name: String
        let version: Int64
        let delay: Int64?
    }

    /// Puts a rule in force or out of it, and waits until every gateway has it.
    /// - Parameter say: is told what happened, a line each.
    /// - Throws: `Settings.Problem` when a gateway does not have it in time.
    func change(
        _ action: RuleStore.Action,
        _ rule: SuggestFilter.Rule,
        reason: String?,
        by whom: String,
        say: (String) -> Void
    ) async throws {
        guard let version = try await store.change(action, rule, reason: reason, by: whom) else {
            return say("There is \(action == .block ? "such a rule" : "no such rule"): \(rule.words)")
        }
        say("version \(version): \(action == .block ? "blocks" : "no longer blocks") \(rule.words)")
        do {
            _ = try await redis.send("PUBLISH", FilterFeed.channel, "\(version)")
            try await awaitGateways(version, say)
        } catch let error as RedisError {
            say("Redis does not answer (\(error.message)): gateways ask PostgreSQL every two seconds.")
        }
    }

    private func awaitGateways(_ version: Int64, _ say: (String) -> Void) async throws {
        let deadline = ContinuousClock.now + patience
        while true {
            let seen = try await gateways()
            let late = seen.filter { $0.version < version }.map(\.name)
            guard !late.isEmpty else {
                guard !seen.isEmpty else { return say("no gateway is there; those that start begin with it") }
                // Those that heard of a later change had this one with it.
                let delays = seen.filter { $0.version == version }.compactMap(\.delay)
                let last = delays.max().map { ", the last after \($0) ms" } ?? ""
                return say("in force at \(seen.count) \(seen.count == 1 ? "gateway" : "gateways")\(last)")
            }
            guard ContinuousClock.now < deadline else {
                throw Settings.Problem("not yet in force at \(late.joined(separator: ", ")): see its log")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func gateways() async throws -> [Seen] {
        let now = try await redis.send("TIME", repeatable: true).array?.first?.integer ?? 0
        let fields = try await redis.send("HGETALL", FilterFeed.gatewaysKey, repeatable: true).array ?? []
        return stride(from: 0, to: fields.count - 1, by: 2).compactMap { index in
            // `<milliseconds> filter=<version> delay=<milliseconds>`
            let words = (fields[index + 1].string ?? "").split(separator: " ")
            guard let name = fields[index].string, let seen = words.first.flatMap({ Int64($0) }),
                now * 1000 - seen < Self.silence
            else { return nil }
            func number(_ label: String) -> Int64? {
                words.first { $0.hasPrefix(label) }.flatMap { Int64($0.dropFirst(label.count)) }
            }
            return Seen(name: name, version: number("filter=") ?? -1, delay: number("delay="))
        }
    }

    /// The rules in force, and the last changes.
    func list(changes: Int) async throws -> [String] {
        let filter = try await store.read().filter
        var lines = ["version \(filter.version), \(filter.rules.count) rules"] + filter.rules.map { "  \($0.words)" }
        let log = try await store.log(limit: changes)
        if !log.isEmpty { lines.append("last changes") }
        for entry in log {
            let reason = entry.reason.map { ": \($0)" } ?? ""
            let time = Date(timeIntervalSince1970: Double(entry.at) / 1000).formatted(.iso8601)
            lines.append("  \(entry.version)  \(time)  \(entry.by) \(entry.action)s \(entry.rule.words)\(reason)")
        }
        return lines
    }
}

extension SuggestFilter.Rule {
    /// For people: `the word "bad" in all lists`.
    var words: String {
        let what =
            switch kind {
            case .exact: "the query"
            case .word: "the word"
            case .pattern: "the pattern"
            }
        return "\(what) \"\(text)\" in \(locale.map { "the lists of \($0)" } ?? "all lists")"
    }
}
