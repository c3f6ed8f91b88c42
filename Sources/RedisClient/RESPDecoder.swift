import CHiredis
import NIOCore

/// Turns a stream of bytes into replies, with hiredis as the parser.
///
/// hiredis is given our own constructors, so that Swift values are built directly and its tree of malloced
/// replies never exists. The reader and the pointers it hands around stay inside this class, which belongs to
/// one channel handler and never leaves its event loop.
final class RESPDecoder {
    private let reader: UnsafeMutablePointer<redisReader>

    init() {
        guard let reader = redisReaderCreateWithFunctions(constructors) else {
            preconditionFailure("hiredis is out of memory")
        }
        // Keep the read buffer when it runs empty; by default hiredis frees it past 16 KiB at each drained burst.
        reader.pointee.maxbuf = 1 << 20
        self.reader = reader
    }

    deinit { redisReaderFree(reader) }

    func feed(_ buffer: ByteBuffer) throws(RedisError) {
        let status = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        guard status == REDIS_OK else { throw violation }
    }

    /// The next whole reply, or nil until more bytes come.
    func next() throws(RedisError) -> RESPValue? {
        var reply: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &reply) == REDIS_OK else { throw violation }
        return reply.map { Unmanaged<ReplyNode>.fromOpaque($0).takeRetainedValue().value }
    }

    private var violation: RedisError {
        let text = withUnsafeBytes(of: &reader.pointee.errstr) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        return RedisError(.protocolViolation, outcome: .unknown, "not RESP: \(text)")
    }
}

/// A reply under construction: a scalar, or an array whose elements arrive one by one.
private final class ReplyNode {
    private var scalar: RESPValue?
    private var elements: [RESPValue]
    private var nested: [(index: Int, node: ReplyNode)] = []

    init(_ scalar: RESPValue) {
        self.scalar = scalar
        elements = []
    }

    init(count: Int) {
        elements = Array(repeating: .null, count: count)
    }

    func place(_ value: RESPValue, at index: Int) { elements[index] = value }
    func place(_ node: ReplyNode, at index: Int) { nested.append((index, node)) }

    var value: RESPValue {
        if let scalar { return scalar }
        for (index, node) in nested { elements[index] = node.value }
        return .array(elements)
    }
}

/// Hands a finished scalar to its parent array, or makes it the root. hiredis wants any non-null pointer back.
private func finish(_ value: RESPValue, _ task: UnsafePointer<redisReadTask>?) -> UnsafeMutableRawPointer? {
    guard let task else { return nil }
    guard let parent = task.pointee.parent?.pointee.obj else {
        return Unmanaged.passRetained(ReplyNode(value)).toOpaque()
    }
    Unmanaged<ReplyNode>.fromOpaque(parent).takeUnretainedValue().place(value, at: Int(task.pointee.idx))
    return parent
}

/// hiredis keeps the pointer, so the table lives for ever.
private nonisolated(unsafe) let constructors: UnsafeMutablePointer<redisReplyObjectFunctions> = {
    let table = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
    table.initialize(
        to: redisReplyObjectFunctions(
            createString: { task, bytes, count in
                let raw = UnsafeRawBufferPointer(start: bytes, count: count)
                switch task?.pointee.type {
                case REDIS_REPLY_ERROR:
                    return finish(.error(RedisServerError(String(decoding: raw, as: UTF8.self))), task)
                case REDIS_REPLY_STATUS: return finish(.simple(String(decoding: raw, as: UTF8.self)), task)
                default: return finish(.bulk(ByteBuffer(bytes: raw)), task)
                }
            },
            createArray: { task, count in
                let node = ReplyNode(count: Int(count))
                guard let task, let parent = task.pointee.parent?.pointee.obj else {
                    return Unmanaged.passRetained(node).toOpaque()
                }
                // The parent's reference keeps the child alive until the root is taken.
                Unmanaged<ReplyNode>.fromOpaque(parent).takeUnretainedValue().place(node, at: Int(task.pointee.idx))
                return Unmanaged.passUnretained(node).toOpaque()
            },
            createInteger: { task, number in finish(.integer(number), task) },
            createNil: { task in finish(.null, task) },
            freeObject: { root in
                if let root { Unmanaged<ReplyNode>.fromOpaque(root).release() }
            }
        )
    )
    return table
}()
