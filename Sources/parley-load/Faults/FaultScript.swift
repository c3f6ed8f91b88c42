/// What is done to a stack's processes, and when. A line says it as `Scripts/stack` does, after the time since the
/// load began; `#` begins a comment:
///
///     5s kill gateway-1
///     8s start gateway-1
///     12s pause redis 3s      # and resume it after 3 s
struct FaultScript: Sendable, Equatable {
    enum Action: String, CaseIterable, Sendable {
        case start, stop, kill, pause, resume
    }

    struct Fault: Sendable, Equatable {
        var time: Duration
        var action: Action
        var process: String
        /// In the script, from 1.
        var line: Int

        var what: String { "\(action) \(process)" }
    }

    /// By time; those of the same time as the script has them.
    let faults: [Fault]

    /// When the last begins.
    var end: Duration { faults.last?.time ?? .zero }

    /// - Parameter processes: the names of the stack's processes, all of which run at the beginning.
    /// - Throws: names the first line that cannot be followed, and what is expected there.
    init(_ text: String, processes: [String]) throws(LoadError) {
        var faults: [Fault] = []
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace)
            if !words.isEmpty { faults += try Self.read(words, line: index + 1, processes) }
        }
        guard !faults.isEmpty else { throw LoadError("no line says what to do: expected one such as 5s kill redis") }
        // A stable order: of the same time, the line that stands first.
        self.faults = faults.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }
            .map(\.element)
        try follow()
    }

    private static func read(_ words: [Substring], line: Int, _ processes: [String]) throws(LoadError) -> [Fault] {
        func wrong(_ expected: String, _ index: Int) -> LoadError {
            LoadError("line \(line): expected \(expected), found \(index < words.count ? words[index] : "the end")")
        }
        guard let time = duration(words[0]) else { throw wrong("a time such as 500ms, 5s or 1m", 0) }
        guard words.count > 1, let action = Action(rawValue: String(words[1])) else {
            throw wrong("one of \(Action.allCases.map(\.rawValue).joined(separator: ", "))", 1)
        }
        guard words.count > 2, processes.contains(String(words[2])) else {
            throw wrong("a process of the stack (\(processes.joined(separator: ", ")))", 2)
        }
        let fault = Fault(time: time, action: action, process: String(words[2]), line: line)
        guard words.count > 3 else { return [fault] }
        guard action == .pause else { throw wrong("the end of the line", 3) }
        guard let length = duration(words[3]) else { throw wrong("a time such as 3s for the length of the pause", 3) }
        guard words.count == 4 else { throw wrong("the end of the line", 4) }
        var end = fault
        (end.time, end.action) = (time + length, .resume)
        return [fault, end]
    }

    /// A whole number, below a million, of milliseconds, seconds or minutes.
    private static func duration(_ text: Substring) -> Duration? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard digits.count <= 6, let number = Int(digits) else { return nil }
        switch text.dropFirst(digits.count) {
        case "ms": return .milliseconds(number)
        case "s": return .seconds(number)
        case "m": return .seconds(60 * number)
        default: return nil
        }
    }

    /// Refuses what would fail in the middle of a run: a kill of what does not run, a second start.
    private func follow() throws(LoadError) {
        var last: [String: Action] = [:]
        for fault in faults {
            let before = last[fault.process] ?? .start
            let expected: [Action] =
                switch fault.action {
                case .stop, .kill: [.start, .pause, .resume]
                case .start: [.stop, .kill]
                case .pause: [.start, .resume]
                case .resume: [.pause]
                }
            guard expected.contains(before) else {
                throw LoadError(
                    "line \(fault.line): at \(fault.time) \(fault.process) cannot \(fault.action): expected a "
                        + "\(expected.map(\.rawValue).joined(separator: " or ")) of it before"
                )
            }
            last[fault.process] = fault.action
        }
    }
}
