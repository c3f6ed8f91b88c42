import NIOHTTP1

/// A request for suggestions that needs nothing but them.
struct SuggestRequest {
    static let path = "/v1/suggest?"

    let query: Substring.UTF8View
    var format = SuggestQuestion.Format.json
    var ifNoneMatch: String?
    var origin: String?
    var forwarded: [String] = []

    /// - Returns: nil for what is another request, or is to be answered with more than is known here: an older HTTP, a
    ///   body,
    ///   a connection that is to end.
    init?(_ head: HTTPRequestHead) {
        guard head.method == .GET, head.version == .http1_1, head.uri.utf8.starts(with: Self.path.utf8) else {
            return nil
        }
        query = head.uri.dropFirst(Self.path.utf8.count).utf8
        for (name, value) in head.headers {
            switch name.utf8.count {
            case 6 where name.isHeader("accept"): format = SuggestReply.format(accepting: value)
            case 6 where name.isHeader("origin"): origin = value
            case 6 where name.isHeader("expect"): return nil
            case 7 where name.isHeader("upgrade"): return nil
            case 10 where name.isHeader("connection"):
                guard value.isHeader("keep-alive") else { return nil }
            case 13 where name.isHeader("if-none-match"): ifNoneMatch = value
            case 14 where name.isHeader("content-length"):
                guard value == "0" else { return nil }
            case 15 where name.isHeader("x-forwarded-for"): forwarded.append(value)
            case 17 where name.isHeader("transfer-encoding"): return nil
            default: break
            }
        }
    }
}

extension String {
    /// - Parameter name: in lower case.
    fileprivate func isHeader(_ name: StaticString) -> Bool {
        guard utf8.count == name.utf8CodeUnitCount else { return false }
        var at = 0
        for byte in utf8 {
            let letter = 0x41...0x5A ~= byte ? byte | 0x20 : byte
            guard letter == name.utf8Start[at] else { return false }
            at += 1
        }
        return true
    }
}
