import NIOCore
import ParleyCore
import PostgresClient
import RedisClient

extension SettingKind {
    static func optional<Wrapped>(_ kind: SettingKind<Wrapped>) -> Self where Value == Wrapped? {
        Self(values: kind.values) {
            try kind.parse($0).map(Optional.some)
        } show: {
            $0.flatMap(kind.show)
        }
    }

    static func number(
        _ unit: String,
        in range: ClosedRange<Int>,
        make: @escaping @Sendable (Int) -> Value,
        show: @escaping @Sendable (Value) -> Int
    ) -> Self {
        Self(values: "\(unit) from \(range.lowerBound) to \(range.upperBound)") { text in
            Int(text).flatMap { range.contains($0) ? make($0) : nil }
        } show: {
            String(show($0))
        }
    }

    static func oneOf(_ choices: [(name: String, value: Value)]) -> Self where Value: Equatable & Sendable {
        Self(values: choices.map { "`\($0.name)`" }.formatted()) { text in
            choices.first { $0.name == text }?.value
        } show: { value in
            choices.first { $0.value == value }?.name
        }
    }
}

extension SettingKind where Value: RawRepresentable & CaseIterable & Equatable & Sendable, Value.RawValue == String {
    static var choice: Self { oneOf(Value.allCases.map { ($0.rawValue, $0) }) }
}

extension SettingKind {
    /// Several of them, one at least.
    static func set<Element>() -> Self
    where
        Value == Set<Element>, Element: RawRepresentable & CaseIterable & Sendable, Element.RawValue == String,
        Element.AllCases: Sendable
    {
        let names = Element.allCases.map(\.rawValue)
        return Self(values: "some of \(names.map { "`\($0)`" }.joined(separator: ", ")), with commas between") { text in
            let elements = text.split(separator: ",", omittingEmptySubsequences: false).map {
                Element(rawValue: String($0))
            }
            return elements.contains { $0 == nil } ? nil : Set(elements.compactMap(\.self))
        } show: { value in
            names.filter { Element(rawValue: $0).map(value.contains) ?? false }.joined(separator: ",")
        }
    }
}

extension SettingKind<Int> {
    static func number(in range: ClosedRange<Int>) -> Self { number("a number", in: range, make: { $0 }, show: { $0 }) }
    static var port: Self { number("a port", in: 0...65535, make: { $0 }, show: { $0 }) }
}

extension SettingKind<Double> {
    static func percent(in range: ClosedRange<Int>) -> Self {
        number("percent", in: range, make: { Double($0) / 100 }, show: { Int(($0 * 100).rounded()) })
    }
}

extension SettingKind<TimeAmount> {
    static func milliseconds(in range: ClosedRange<Int>) -> Self {
        number("milliseconds", in: range, make: { .milliseconds(Int64($0)) }, show: { Int($0.nanoseconds / 1_000_000) })
    }
}

extension SettingKind<Int64> {
    /// Kept in milliseconds.
    static func seconds(in range: ClosedRange<Int>) -> Self {
        number("seconds", in: range, make: { 1000 * Int64($0) }, show: { Int($0 / 1000) })
    }
}

extension SettingKind<String> {
    static func text(_ what: String) -> Self {
        Self(values: what) {
            $0.isEmpty ? nil : $0
        } show: {
            $0
        }
    }

    static var redisURL: Self {
        Self(values: "`redis[s]://[user:password@]host[:port][/db][?ca=file]`") { text in
            _ = try RedisConfiguration(url: text)
            return text
        } show: {
            $0
        }
    }

    static var postgresURL: Self {
        Self(values: "`postgres://user:password@host:port/database`, or another connection string of libpq") { text in
            try PostgresConfiguration(url: text).validate()
            return text
        } show: {
            $0
        }
    }
}

extension SettingKind<Set<String>> {
    static func list(_ what: String) -> Self {
        Self(values: "\(what), with commas between") {
            Set($0.split(separator: ",").map(String.init))
        } show: {
            $0.isEmpty ? nil : $0.sorted().joined(separator: ",")
        }
    }
}

extension SettingKind<TrustedProxies> {
    static var addressRanges: Self {
        Self(values: "addresses and ranges like `10.0.0.0/8`, with commas between") { text in
            let ranges = text.split(separator: ",").map { AddressRange($0) }
            return ranges.contains { $0 == nil } ? nil : TrustedProxies(ranges.compactMap(\.self))
        } show: {
            $0.isEmpty ? nil : $0.description
        }
    }
}

extension SettingKind<[Activity: RateLimit]> {
    /// What is given takes the place of its default, and leaves the others.
    static var limits: Self {
        Self(values: "limits like `send=10/s:60`, with commas between") { text in
            var limits = AdmissionConfiguration().limits
            for given in text.split(separator: ",", omittingEmptySubsequences: false) {
                let parts = given.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
                guard parts.count == 2, let activity = Activity(rawValue: String(parts[0])), limits[activity] != nil,
                    let limit = RateLimit(parts[1])
                else { return nil }
                limits[activity] = limit
            }
            return limits
        } show: { limits in
            limits.map { "\($0.key.rawValue)=\($0.value)" }.sorted().joined(separator: ", ")
        }
    }
}

extension SettingKind<TokenKeys?> {
    static var keyFile: Self {
        Self(values: "a file") {
            try TokenKeys(text: Settings.text(ofFile: $0))
        } show: { _ in
            nil
        }
    }
}

extension SettingKind<VAPIDKey?> {
    /// The name of a file that holds it.
    static var vapidKeyFile: Self {
        Self(values: "a file") {
            try VAPIDKey(text: Settings.text(ofFile: $0))
        } show: { _ in
            nil
        }
    }
}

extension SettingKind<PushURL> {
    static var pushURL: Self {
        Self(values: "an `https` or `http` URL") {
            PushURL($0)
        } show: { _ in
            nil
        }
    }
}

extension SettingKind<String> {
    static var contact: Self {
        Self(values: "a `mailto:` or `https:` URL") {
            $0.hasPrefix("mailto:") && $0.contains("@") || $0.hasPrefix("https://") ? $0 : nil
        } show: {
            $0
        }
    }
}

extension [String] {
    /// "a, b or c"
    fileprivate func formatted() -> String {
        dropLast().joined(separator: ", ") + (count > 1 ? " or " : "") + (last ?? "")
    }
}
