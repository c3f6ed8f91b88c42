import NIOCore
import ParleyWire

/// What a device is told.
struct PushNotice: Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        case message(Message)
        /// Everything up to a seq was read elsewhere: what is shown of it goes.
        case read(seq: Int64)
    }

    struct Message: Sendable, Hashable {
        let mid: MessageID
        let seq: Int64
        let from: UserID
        /// Milliseconds since 1970.
        let timestamp: Int64
        /// The sender's name as people read it.
        let sender: String
        /// The group's title; nil in a direct conversation.
        let group: String?
        /// nil where it must not pass the provider.
        var body: String?
    }

    let conversation: ConversationID
    var kind: Kind
    /// Unread messages of all conversations.
    let badge: Int

    /// What a device shows in place of the last of the same name.
    var collapseID: String { conversation.description }

    /// The text's key in the app's own tables of strings, with what it takes; nil where the body itself is the text.
    ///
    /// `new_message`; `group_message` (sender, body); `new_group_message` (sender).
    var localized: (key: String, arguments: [String])? {
        guard case .message(let message) = kind else { return nil }
        switch (message.group, message.body) {
        case (nil, nil): return ("new_message", [])
        case (nil, _): return nil
        case (_, nil): return ("new_group_message", [message.sender])
        case (_, let body?): return ("group_message", [message.sender, body])
        }
    }

    /// The first line of what is shown.
    var title: String? {
        guard case .message(let message) = kind else { return nil }
        return message.group.map { $0.isEmpty ? message.sender : $0 } ?? message.sender
    }

    /// What an app needs to know of it, the text aside.
    func writeData(into json: inout ByteBuffer) {
        json.writeJSONField("conv", conversation)
        json.writeJSONField("badge", badge)
        switch kind {
        case .message(let message):
            json.writeJSONField("type", "message")
            json.writeJSONField("mid", message.mid)
            json.writeJSONField("seq", message.seq)
            json.writeJSONField("from", message.from)
            json.writeJSONField("ts", message.timestamp)
        case .read(let seq):
            json.writeJSONField("type", "read")
            json.writeJSONField("seq", seq)
        }
    }

    /// The text as Web Push and webhooks have it: `title`, and `body` or `body_key` with `body_args`.
    func writeText(into json: inout ByteBuffer) {
        guard let title else { return }
        json.writeJSONField("title", title)
        if let (key, arguments) = localized {
            json.writeJSONField("body_key", key)
            json.writeJSONKey("body_args")
            json.writeTexts(arguments)
        } else if case .message(let message) = kind, let body = message.body {
            json.writeJSONField("body", body)
        }
    }

    /// With less of the body, by a quarter at least; nil where nothing is left to leave out.
    func shortened() -> PushNotice? {
        guard case .message(var message) = kind, let body = message.body else { return nil }
        var notice = self
        // Whole characters: half of one is none.
        var text = body.last == "…" ? body.dropLast() : body[...]
        let aim = text.utf8.count * 3 / 4
        while text.utf8.count > aim { text = text.dropLast() }
        message.body = text.isEmpty ? nil : text + "…"
        notice.kind = .message(message)
        return notice
    }

    /// What `write` makes of as much of this as fits; never nothing.
    func fitting(_ limit: Int, _ write: (PushNotice) -> ByteBuffer) -> ByteBuffer {
        var notice = self
        while true {
            let written = write(notice)
            guard written.readableBytes > limit, let shorter = notice.shortened() else { return written }
            notice = shorter
        }
    }
}

extension ByteBuffer {
    mutating func writeTexts(_ texts: [String]) {
        beginJSONArray()
        for text in texts {
            beginJSONElement()
            writeJSONString(text)
        }
        endJSONArray()
    }
}
