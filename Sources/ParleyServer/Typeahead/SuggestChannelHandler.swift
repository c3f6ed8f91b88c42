import NIOCore
import NIOHTTP1
import ParleyCore
import ParleyWire

/// Answers `GET /v1/suggest` between NIO's HTTP codec and Hummingbird, for a third of what a route costs; every other
/// request passes.
///
/// Answers leave in the order of the requests: while one that passed is unanswered, all that follow pass too (there is
/// a route for them), and while an answer of ours is awaited, whatever else comes waits here. It also ends connections
/// on which nothing happens, because nobody else sees all requests.
final class SuggestChannelHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// An answer in its place; nil until it is there.
    private final class Slot {
        var answer: ByteBuffer?
    }

    /// nil where every request passes: suggestions are not served, or ask for a sign-in.
    private let engine: SuggestEngine?
    private let services: GatewayServices
    private let idleTimeout: TimeAmount

    /// Where what we write goes: past the encoder, which it does not need.
    private var encoder: ChannelHandlerContext?
    private var context: ChannelHandlerContext?
    private var slots = CircularBuffer<Slot>()
    private var held = CircularBuffer<HTTPServerRequestPart>()
    private var heldEvents: [Any] = []
    /// The parts that come belong to a request that is answered here.
    private var isOurs = false
    /// Requests that passed and are not answered.
    private var passed = 0
    private var isReadHeld = false
    private var isFlushDue = false
    private var lastPart = NIODeadline.now()
    private var idle: Scheduled<Void>?
    /// Of the client's address; nil where it is a proxy's connection, or nothing is limited.
    private var allowance: Allowance?

    /// Answers that one connection may have waiting; beyond, nothing is read from it.
    private static let slotLimit = 64

    init(engine: SuggestEngine?, services: GatewayServices, idleTimeout: TimeAmount) {
        self.engine = engine?.configuration.access == .everybody ? engine : nil
        self.services = services
        self.idleTimeout = idleTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        encoder = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        if let peer = ClientAddress(context.channel.remoteAddress), let limiter = services.admission.limiter,
            !services.admission.configuration.proxies.contains(peer)
        {
            allowance = limiter.allowance(of: peer.network.description)
        }
        watchIdleness(context, after: idleTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        idle?.cancel()
        self.context = nil
        encoder = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        idle?.cancel()
        slots.removeAll()
        held.removeAll()
        context.fireChannelInactive()
    }

    private func watchIdleness(_ context: ChannelHandlerContext, after time: TimeAmount) {
        idle = context.eventLoop.assumeIsolated().scheduleTask(in: time) {
            let rest = self.lastPart + self.idleTimeout - .now()
            if rest > .zero {
                self.watchIdleness(context, after: rest)
            } else if self.passed > 0 || !self.slots.isEmpty {
                self.watchIdleness(context, after: self.idleTimeout)
            } else {
                context.close(promise: nil)
            }
        }
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastPart = .now()
        let part = unwrapInboundIn(data)
        if !held.isEmpty || !take(part, context) { held.append(part) }
    }

    /// - Returns: false for what has to wait.
    private func take(_ part: HTTPServerRequestPart, _ context: ChannelHandlerContext) -> Bool {
        switch part {
        case .head(let head):
            if passed == 0, let engine, encoder != nil, let request = SuggestRequest(head) {
                isOurs = true
                answer(request, engine, context)
                return true
            }
            guard slots.isEmpty else { return false }
            passed += 1
            context.fireChannelRead(wrapInboundOut(part))
        case .body:
            if !isOurs { context.fireChannelRead(wrapInboundOut(part)) }
        case .end:
            if isOurs { isOurs = false } else { context.fireChannelRead(wrapInboundOut(part)) }
        }
        return true
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) {
            passed -= 1
            lastPart = .now()
        }
        context.write(data, promise: promise)
    }

    /// Before the end of what comes in, and before the connection is to be quiet, come the answers that are awaited.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if slots.isEmpty { context.fireUserInboundEventTriggered(event) } else { heldEvents.append(event) }
    }

    // MARK: Not faster than answers are taken

    func read(context: ChannelHandlerContext) {
        if slots.count >= Self.slotLimit || !context.channel.isWritable { isReadHeld = true } else { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        readOn(context)
        context.fireChannelWritabilityChanged()
    }

    private func readOn(_ context: ChannelHandlerContext) {
        guard isReadHeld, slots.count < Self.slotLimit, context.channel.isWritable else { return }
        isReadHeld = false
        context.read()
    }

    // MARK: Answers

    private func answer(_ request: SuggestRequest, _ engine: SuggestEngine, _ context: ChannelHandlerContext) {
        let begun = NIODeadline.now()
        if let problem = refusal(of: request, context) { return put(.failure(problem), request, engine, begun) }
        let question: SuggestQuestion
        do throws(HTTPProblem) {
            question = try SuggestQuestion(query: request.query, format: request.format)
        } catch {
            return put(.failure(error), request, engine, begun)
        }
        // What is in the cache needs no closure and no place in the row.
        if slots.isEmpty, request.ifNoneMatch == nil, let list = engine.list(for: question.locale),
            let known = try? engine.known(question.text, in: list)
        {
            let tail = known.tail(question.limit, question.format, engine.filter)
            var bytes = ByteBufferAllocator().buffer(capacity: 512 + tail.readableBytes)
            SuggestResponse.ok(question, list, tail, origin(request), engine, into: &bytes)
            services.http.suggested(200, in: .now() - begun)
            send(bytes)
            return
        }
        let slot = Slot()
        slots.append(slot)
        SuggestReply.make(question, ifNoneMatch: request.ifNoneMatch, engine) { result in
            slot.answer = self.bytes(of: result, request, engine, begun)
            self.sendWhatIsThere()
        }
    }

    private func refusal(of request: SuggestRequest, _ context: ChannelHandlerContext) -> HTTPProblem? {
        guard let limiter = services.admission.limiter else { return nil }
        let subject = allowance ?? limiter.allowance(of: services.admission.client(context.channel, request.forwarded))
        let wait = limiter.take(.suggest, of: subject)
        guard wait > 0 else { return nil }
        services.refusals.count(.suggest, .rateLimited)
        return HTTPProblem(.rateLimited, "Too many of these requests.", retryMilliseconds: Int((wait + 999) / 1000))
    }

    private func origin(_ request: SuggestRequest) -> String? {
        request.origin.flatMap { services.origins.allows($0) ? $0 : nil }
    }

    private func put(
        _ result: Result<SuggestReply, HTTPProblem>,
        _ request: SuggestRequest,
        _ engine: SuggestEngine,
        _ begun: NIODeadline
    ) {
        let slot = Slot()
        slot.answer = bytes(of: result, request, engine, begun)
        slots.append(slot)
        sendWhatIsThere()
    }

    private func bytes(
        of result: Result<SuggestReply, HTTPProblem>,
        _ request: SuggestRequest,
        _ engine: SuggestEngine,
        _ begun: NIODeadline
    ) -> ByteBuffer {
        var bytes = ByteBuffer()
        let status = SuggestResponse.write(result, origin(request), engine, into: &bytes)
        services.http.suggested(status, in: .now() - begun)
        if case .failure(let problem) = result { services.http.refused(problem.code) }
        return bytes
    }

    private func sendWhatIsThere() {
        guard let context else { return }
        while let answer = slots.first?.answer {
            slots.removeFirst()
            send(answer)
        }
        guard slots.isEmpty else { return }
        releaseHeld(context)
        guard slots.isEmpty else { return }
        readOn(context)
        let events = heldEvents
        heldEvents.removeAll()
        for event in events { context.fireUserInboundEventTriggered(event) }
    }

    private func releaseHeld(_ context: ChannelHandlerContext) {
        guard !held.isEmpty else { return }
        while let part = held.popFirst() {
            guard take(part, context) else {
                held.prepend(part)
                break
            }
        }
        // Hummingbird looks at what came when all has.
        context.fireChannelReadComplete()
    }

    /// Flushed once for all that leave in this turn of the event loop.
    private func send(_ bytes: ByteBuffer) {
        guard let encoder, let context else { return }
        encoder.write(NIOAny(bytes), promise: nil)
        guard !isFlushDue else { return }
        isFlushDue = true
        context.eventLoop.assumeIsolated().execute { self.flush() }
    }

    private func flush() {
        guard isFlushDue else { return }
        isFlushDue = false
        encoder?.flush()
    }
}
