import Foundation
import NIOCore

enum Clock {
    /// Of the monotonic clock, in nanoseconds.
    static func nanoseconds() -> Int64 { Int64(NIODeadline.now().uptimeNanoseconds) }

    /// Milliseconds since 1970.
    static func unixMilliseconds() -> Int64 { Int64(Date().timeIntervalSince1970 * 1000) }
}

/// A value that belongs to an event loop, for the tasks around it.
struct OnLoop<Value>: Sendable {
    private let bound: NIOLoopBound<Value>
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop, _ make: @escaping @Sendable (any EventLoop) throws -> Value) async throws {
        self.eventLoop = eventLoop
        bound = try await eventLoop.submit { NIOLoopBound(try make(eventLoop), eventLoop: eventLoop) }.get()
    }

    func run<Result: Sendable>(_ body: @escaping @Sendable (Value) throws -> Result) async throws -> Result {
        try await eventLoop.submit { [bound] in try body(bound.value) }.get()
    }

    func wait(_ body: @escaping @Sendable (Value) -> EventLoopFuture<Void>) async throws {
        try await eventLoop.flatSubmit { [bound] in body(bound.value) }.get()
    }
}
