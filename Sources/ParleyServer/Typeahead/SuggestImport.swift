import ParleyCore

/// A file with queries and how often they are asked for: a line each of query, count and locale, with tabs between; a
/// line without a locale is of the list for all others. A query that comes twice counts as often as both.
public struct SuggestImport: Sendable {
    public struct BadLine: Sendable, Hashable {
        /// From 1.
        public let number: Int
        public let why: String
    }

    var lists: [SuggestLocale: [SuggestEntry]] = [:]
    public private(set) var bad: [BadLine] = []

    public var isEmpty: Bool { lists.isEmpty }

    /// - Parameter file: lines that end with LF or CRLF; empty ones count for nothing.
    public init(_ file: [UInt8]) {
        var locales: [ArraySlice<UInt8>: SuggestLocale] = [:]
        var number = 0
        for var line in file.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            if line.last == 0x0D { line.removeLast() }
            guard !line.isEmpty else { continue }
            let fields = line.split(separator: 0x09, omittingEmptySubsequences: false)
            do {
                guard 2...3 ~= fields.count else {
                    throw Reason("expected a query, a count and a locale with tabs between")
                }
                guard let count = Double(String(decoding: fields[1], as: UTF8.self)), count > 0, count <= 1e15 else {
                    throw Reason("the count is no number above 0")
                }
                let name = fields.count == 3 ? fields[2] : []
                guard let locale = locales[name] ?? Self.locale(name) else { throw Reason("the locale is none") }
                locales[name] = locale
                let display = try SuggestText.display(of: fields[0])
                guard display.utf8.count <= SuggestKeys.longestDisplay else {
                    throw Reason("the query has more than \(SuggestKeys.longestDisplay) bytes")
                }
                _ = try SuggestText(utf8: display.utf8, .query)
                lists[locale, default: []].append(SuggestEntry(display: display, weight: count))
            } catch {
                bad.append(BadLine(number: number, why: Self.why(error)))
            }
        }
    }

    private struct Reason: Error {
        let text: String
        init(_ text: String) { self.text = text }
    }

    private static func locale(_ name: ArraySlice<UInt8>) -> SuggestLocale? {
        name.isEmpty ? .fallback : SuggestLocale(String(decoding: name, as: UTF8.self))
    }

    private static func why(_ error: any Error) -> String {
        switch error {
        case let reason as Reason: reason.text
        case SuggestText.Problem.empty: "the query is empty"
        case SuggestText.Problem.tooLong: "the query has more than \(SuggestKeys.longestDisplay) bytes"
        default: "the query is no UTF-8"
        }
    }
}
