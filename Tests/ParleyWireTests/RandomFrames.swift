import ParleyWire

/// Valid frames of every kind, for round trips.
struct RandomFrames {
    var generator: SeededGenerator

    private mutating func choose<T>(_ values: [T]) -> T {
        values.randomElement(using: &generator)!
    }

    private mutating func maybe<T>(_ value: T) -> T? {
        Bool.random(using: &generator) ? value : nil
    }

    mutating func text() -> String {
        let pieces = [
            "a", "\"", "\\", "/", "\n", "\u{1F}", "\u{7F}", "é", "한", "😀", "\u{2028}", "plain text ", "\\u0041",
        ]
        return "t" + (0..<Int.random(in: 0...12, using: &generator)).map { _ in choose(pieces) }.joined()
    }

    private mutating func number() -> Int64 {
        choose([0, 1, 9_007_199_254_740_991, Int64.random(in: 0...9_007_199_254_740_991, using: &generator)])
    }

    private mutating func user() -> UserID {
        UserID(String(Int64.random(in: 0...Int64.max, using: &generator), radix: 36))!
    }

    private mutating func conversation() -> ConversationID {
        Bool.random(using: &generator) ? .group(user().description)! : .direct(UserID("a0")!, user())
    }

    private mutating func message() -> MessageID {
        MessageID(rawValue: UInt64.random(in: 0..<1 << 63, using: &generator))!
    }

    private mutating func cid() -> ClientMessageID {
        .random(unixMilliseconds: Int64.random(in: 0..<1 << 48, using: &generator), using: &generator)
    }

    private mutating func content() -> MessageContent {
        MessageContent(body: text(), data: maybe(#"{"a":[1, "x\n"]}"#), replyTo: maybe(message()))
    }

    private mutating func cursor() -> ClientFrame.Cursor {
        .init(epoch: text(), q: number())
    }

    private mutating func id() -> FrameID? {
        maybe(choose([FrameID(Int.random(in: -9...9, using: &generator)), FrameID(cid())]))
    }

    mutating func clientFrame() -> ClientFrame {
        let operation: ClientFrame.Operation
        switch Int.random(in: 0..<12, using: &generator) {
        case 0:
            operation = .auth(
                .init(
                    token: text(),
                    device: Sample.device,
                    resume: maybe(cursor()),
                    ephemeral: Bool.random(using: &generator)
                )
            )
        case 1: operation = .send(.init(cid: cid(), target: .conversation(conversation()), content: content()))
        case 2: operation = .send(.init(cid: cid(), target: .user(user()), content: content()))
        case 3: operation = .edit(.init(cid: cid(), conv: conversation(), mid: message(), body: text()))
        case 4: operation = .delete(.init(cid: cid(), conv: conversation(), mid: message()))
        case 5: operation = .ack(q: number())
        case 6: operation = .read(conv: conversation(), seq: number())
        case 7: operation = .typing(conv: conversation())
        case 8: operation = .watch(users: (0..<Int.random(in: 0...200, using: &generator)).map { _ in user() })
        case 9: operation = .sync(cursor())
        case 10: operation = .suggest(text: text(), locale: maybe("ko-KR"))
        default: operation = choose([.active, .ping])
        }
        return ClientFrame(operation, id: id())
    }

    private mutating func event() -> Event {
        var event = Event(choose(EventType.allCases), conv: maybe(conversation()))
        (event.seq, event.mid, event.from, event.ts) = (
            maybe(number()), maybe(message()), maybe(user()), maybe(number())
        )
        (event.body, event.data, event.replyTo) = (maybe(text()), maybe("{}"), maybe(message()))
        (event.cid, event.rev, event.user) = (maybe(cid()), maybe(number()), maybe(user()))
        (event.read, event.delivered) = (maybe(number()), maybe(number()))
        (event.title, event.role, event.version) = (maybe(text()), maybe(text()), maybe(number()))
        (event.muted, event.mutedUntil) = (maybe(Bool.random(using: &generator)), maybe(number()))
        return event
    }

    mutating func serverFrame() -> ServerFrame {
        let operation: ServerFrame.Operation
        switch Int.random(in: 0..<11, using: &generator) {
        case 0:
            operation = .ready(
                .init(
                    user: user(),
                    session: text(),
                    epoch: text(),
                    head: number(),
                    mode: choose([.live, .replay, .resync]),
                    now: number()
                )
            )
        case 1: operation = .live(q: number())
        case 2:
            let dup = Bool.random(using: &generator)
            operation = .sent(
                .init(cid: cid(), conv: conversation(), mid: message(), seq: number(), ts: number(), dup: dup)
            )
        case 3, 4: return ServerFrame(.event(q: number(), event()))
        case 5: operation = .pong(head: number())
        case 6:
            operation = .error(
                .init(
                    choose(ErrorCode.allCases),
                    text(),
                    cid: maybe(FrameID(cid())),
                    retryMilliseconds: maybe(number())
                )
            )
        case 7: operation = .goaway(.init(reason: text(), reconnectMilliseconds: number(), url: maybe(text())))
        case 8: operation = .suggestions([.init(text: text(), score: maybe(0.1)), .init(text: text())])
        case 9:
            operation = choose([
                .receipt(.init(conv: conversation(), user: user(), read: maybe(number()), delivered: maybe(number()))),
                .typing(conv: conversation(), user: user()),
            ])
        default:
            operation = .presence(
                .init(user: user(), status: choose([.online, .offline]), lastActive: maybe(number()))
            )
        }
        return ServerFrame(operation, id: id())
    }
}
