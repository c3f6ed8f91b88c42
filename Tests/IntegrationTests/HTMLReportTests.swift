import Foundation
import Testing

@testable import parley_load

@Suite struct HTMLReportTests {
    /// What the page's script would read, cut out as a browser does it: by bytes, up to an end of the element.
    private static func results(in page: String) throws -> NSDictionary {
        let bytes = Data(page.utf8)
        let start = try #require(bytes.range(of: Data("<script type=\"application/json\" id=\"result\">".utf8)))
        let rest = bytes[start.upperBound...]
        let end = try #require(rest.range(of: Data("</script".utf8)))
        return try #require(try JSONSerialization.jsonObject(with: rest[..<end.lowerBound]) as? NSDictionary)
    }

    @Test(
        arguments: [
            "</script><script>alert(1)</script>", "</SCRIPT >", "<!-- <script", "\u{600}</script>",
            "a\u{2028}b\u{2029}c", "{{result}} {{report.js}}", "& \\ \" ' ]]> 안녕 👩‍👩‍👧",
        ]
    )
    func whateverTheResultsSayStaysText(_ message: String) throws {
        let results: NSDictionary = ["scenario": "chat", "violations": [["kind": "lost", "message": message]]]
        let data = try JSONSerialization.data(withJSONObject: results, options: .withoutEscapingSlashes)
        let json = String(decoding: data, as: UTF8.self)
        let page = HTMLReport.render(json: json)
        #expect(try Self.results(in: page) == results)

        let bare = HTMLReport.render(json: "{}")
        for scalar: Unicode.Scalar in ["<", "\u{2028}", "\u{2029}"] {
            func count(in page: String) -> Int { page.unicodeScalars.count { $0 == scalar } }
            #expect(count(in: page) == count(in: bare))
        }
    }

    @Test func noPlaceholderStays() {
        let page = HTMLReport.render(json: "{}")
        #expect(page.hasPrefix("<!doctype html>"))
        #expect(!page.contains("{{"))
        #expect(page.contains("JSON.parse("))
        #expect(page.contains("color-scheme: light dark"))
    }

    @Test func resultsThatNeedNoEscapingStandAsTheyAre() {
        let json = "{\"rate_achieved\":1997.7000000000001,\"sent\":9007199254740993}"
        #expect(HTMLReport.render(json: json).contains("\n\(json)\n"))
    }

    @Test func aFileThatCannotBeWrittenSaysWhere() {
        let error = #expect(throws: LoadError.self) {
            try write("{}", to: "/nonexistent/report.html")
        }
        #expect(error?.description.hasPrefix("/nonexistent/report.html could not be written") == true)
    }
}
