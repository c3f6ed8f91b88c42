public import NIOCore

/// A command in wire form. It is encoded once, and the same bytes are written again should it be repeated.
public struct RedisCommand: Sendable, Hashable {
    let bytes: ByteBuffer
    /// What `RedisConnection.onReply` is told it belongs to; the numbers mean what the caller takes them for.
    public var series: UInt8 = 0

    public init(_ arguments: some Collection<String>) {
        var builder = Builder(argumentCount: arguments.count)
        for argument in arguments { builder.append(argument) }
        self = builder.command
    }

    public init(_ arguments: String...) { self.init(arguments) }

    fileprivate init(bytes: ByteBuffer) { self.bytes = bytes }

    /// Arguments in wire form, made once for many commands.
    public struct Fragment: Sendable {
        public let count: Int
        fileprivate let bytes: ByteBuffer

        public init(_ arguments: [String]) {
            var builder = Builder(fragmentOf: arguments.count)
            for argument in arguments { builder.append(argument) }
            count = arguments.count
            bytes = builder.buffer
        }

        /// In bytes.
        public var size: Int { bytes.readableBytes }
    }

    /// Writes a command's arguments straight into the buffer that goes to the socket.
    public struct Builder {
        fileprivate private(set) var buffer: ByteBuffer
        private var missing: Int

        /// - Parameter argumentCount: how many arguments follow, the command's name included.
        public init(argumentCount: Int, reservingCapacity capacity: Int = 256) {
            buffer = ByteBufferAllocator().buffer(capacity: capacity)
            missing = argumentCount
            buffer.writeStaticString("*")
            buffer.writeDecimal(argumentCount)
            buffer.writeStaticString("\r\n")
        }

        public mutating func append(_ argument: String) {
            header(argument.utf8.count)
            buffer.writeString(argument)
            buffer.writeStaticString("\r\n")
        }

        public mutating func append(_ argument: ByteBuffer) {
            header(argument.readableBytes)
            buffer.writeImmutableBuffer(argument)
            buffer.writeStaticString("\r\n")
        }

        public mutating func append(_ arguments: Fragment) {
            missing -= arguments.count
            buffer.writeImmutableBuffer(arguments.bytes)
        }

        public mutating func append(_ argument: Int) { append(String(argument)) }
        public mutating func append(_ argument: Int64) { append(String(argument)) }

        fileprivate init(fragmentOf argumentCount: Int) {
            buffer = ByteBufferAllocator().buffer(capacity: 32 * argumentCount)
            missing = argumentCount
        }

        private mutating func header(_ count: Int) {
            missing -= 1
            buffer.writeStaticString("$")
            buffer.writeDecimal(count)
            buffer.writeStaticString("\r\n")
        }

        public var command: RedisCommand {
            precondition(missing == 0, "a command announced \(missing) more arguments than it has")
            return RedisCommand(bytes: buffer)
        }
    }
}

extension ByteBuffer {
    /// A non-negative number in decimal, without a String in between.
    fileprivate mutating func writeDecimal(_ number: Int) {
        var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
        withUnsafeMutableBytes(of: &digits) { scratch in
            var rest = number
            var start = scratch.count
            repeat {
                start -= 1
                scratch[start] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            writeBytes(UnsafeRawBufferPointer(rebasing: scratch[start...]))
        }
    }
}
