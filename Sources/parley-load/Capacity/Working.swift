import Foundation

/// A number with the arithmetic that leads to it: what is shown is what was computed.
struct Working {
    let value: Double
    let text: String
    private let form: Form

    private enum Form { case term, product, sum }

    private init(_ value: Double, _ text: String, _ form: Form) {
        (self.value, self.text, self.form) = (value, text, form)
    }

    /// - Parameter unit: follows the number; after a space, unless it begins with a slash.
    init(_ value: Double, _ unit: String = "") {
        self.init(value, Self.shown(value, unit), .term)
    }

    /// A share of one, shown as a percentage.
    static func share(_ value: Double) -> Working { Working(value, shown(value * 100, "%"), .term) }

    static let microsecondsOfASecond = Working(1e6, "10⁶ µs", .term)
    static let bytesOfAGB = Working(1e9, "10⁹", .term)
    static let bytesOfATB = Working(1e12, "10¹²", .term)

    static func * (left: Working, right: Working) -> Working {
        Working(left.value * right.value, "\(left.factor) × \(right.factor)", .product)
    }

    static func / (left: Working, right: Working) -> Working {
        let divisor = right.form == .term ? right.text : "(\(right.text))"
        return Working(left.value / right.value, "\(left.factor) ÷ \(divisor)", .product)
    }

    static func + (left: Working, right: Working) -> Working {
        Working(left.value + right.value, "\(left.text) + \(right.text)", .sum)
    }

    static func larger(_ left: Working, _ right: Working) -> Working {
        Working(max(left.value, right.value), "the larger of \(left.text) and \(right.text)", .term)
    }

    private var factor: String { form == .sum ? "(\(text))" : text }

    /// With commas between thousands; whole from 100 on, with two decimals at most below.
    static func shown(_ value: Double, _ unit: String = "") -> String {
        var digits = String(format: value < 100 ? "%.2f" : "%.0f", value)
        if digits.contains(".") {
            while digits.hasSuffix("0") { digits.removeLast() }
            if digits.hasSuffix(".") { digits.removeLast() }
        }
        let whole = digits.prefix { $0 != "." }
        var number = ""
        for (index, digit) in whole.enumerated() {
            if index > 0, (whole.count - index).isMultiple(of: 3) { number += "," }
            number.append(digit)
        }
        return number + digits.dropFirst(whole.count) + (unit.isEmpty || unit.hasPrefix("/") ? unit : " \(unit)")
    }
}
