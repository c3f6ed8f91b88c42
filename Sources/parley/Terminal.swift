import Foundation

/// Standard output.
enum Output {
    /// - Returns: false when nobody reads it any more.
    static func write(_ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Foundation.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if written > 0 { rest = rest.dropFirst(written) } else if errno != EINTR, errno != EAGAIN { return false }
        }
        return true
    }
}

/// Lines cut to what a terminal has room for.
struct Screen: Equatable {
    private(set) var lines: [String]

    init(lines: [String], size: (columns: Int, rows: Int)) {
        self.lines = lines.prefix(size.rows).map { String($0.prefix(size.columns)) }
        if lines.count > size.rows, size.rows > 0 {
            let more = "(\(lines.count - size.rows + 1) more lines: make the window higher)"
            self.lines[size.rows - 1] = String(more.prefix(size.columns))
        }
    }

    /// Paints over what stands there, so that nothing flickers; problems are bold.
    var text: String {
        let painted = lines.map { line in
            line.contains("! ") ? "\u{1b}[1m\(line)\u{1b}[0m\u{1b}[K" : "\(line)\u{1b}[K"
        }
        return "\u{1b}[H" + painted.joined(separator: "\n") + "\u{1b}[J"
    }
}

/// A terminal whose other screen is shown while the program runs.
struct Terminal {
    private let before: termios?

    /// nil where standard output is no terminal.
    init?() {
        guard isatty(STDOUT_FILENO) == 1 else { return nil }
        var state = termios()
        before = tcgetattr(STDIN_FILENO, &state) == 0 ? state : nil
    }

    func begin() {
        if var state = before {
            state.c_lflag &= ~tcflag_t(ICANON | ECHO)
            withUnsafeMutableBytes(of: &state.c_cc) {
                // A key is read at once or not at all; the program is not stopped behind the other screen.
                $0[Int(VMIN)] = 0
                $0[Int(VTIME)] = 0
                $0[Int(VSUSP)] = 0
            }
            tcsetattr(STDIN_FILENO, TCSANOW, &state)
        }
        _ = Output.write("\u{1b}[?1049h\u{1b}[?25l")
    }

    func end() {
        _ = Output.write("\u{1b}[?25h\u{1b}[?1049l")
        if var state = before { tcsetattr(STDIN_FILENO, TCSANOW, &state) }
    }

    func paint(_ screen: Screen) { _ = Output.write(screen.text) }

    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// What was typed since the last call.
    func keys() -> String {
        guard before != nil else { return "" }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(STDIN_FILENO, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
}
