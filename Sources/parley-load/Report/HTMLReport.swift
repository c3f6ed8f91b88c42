import Foundation

/// A run's results as one page that needs nothing else: to open from disk, to mail, to print.
enum HTMLReport {
    /// - Parameter json: what `--json` writes; parts that are absent are absent from the page.
    static func render(json: String) -> String {
        let parts = [
            // The results last: what looks like a placeholder in them is text like any other.
            ("report.css", text(PackageResources.report_css)),
            ("chart.js", text(PackageResources.chart_js)),
            ("report.js", text(PackageResources.report_js)),
            ("result", escaped(json)),
        ]
        return parts.reduce(text(PackageResources.report_html)) { page, part in
            page.replacingOccurrences(of: "{{\(part.0)}}", with: part.1)
        }
    }

    /// The same JSON, with nothing in it that could end a script element or begin a comment there, nor a line
    /// separator that a script's own syntax would take for a line's end. All of these stand within strings.
    static func escaped(_ json: String) -> String {
        var result = String.UnicodeScalarView()
        // By scalars: behind U+0600, say, a `<` is part of another character.
        for scalar in json.unicodeScalars {
            switch scalar {
            case "<": result.append(contentsOf: "\\u003c".unicodeScalars)
            case "\u{2028}": result.append(contentsOf: "\\u2028".unicodeScalars)
            case "\u{2029}": result.append(contentsOf: "\\u2029".unicodeScalars)
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    private static func text(_ resource: [UInt8]) -> String { String(decoding: resource, as: UTF8.self) }
}
