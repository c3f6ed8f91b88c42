public import Hummingbird
public import NIOCore
import ParleyWire

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// What a request carries through middleware to its route.
public struct ParleyRequestContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    /// Set by ``Authenticator``.
    public var identity: Identity?
    /// The client's connection.
    public let channel: any Channel

    /// URLs stay readable for people.
    public var responseEncoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        return encoder
    }

    public init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// Who asks.
    ///
    /// - Throws: `unauthorized` on a route that stands outside an authenticated group.
    public func requireIdentity() throws(HTTPProblem) -> Identity {
        guard let identity else { throw HTTPProblem(.unauthorized, "Sign in first.") }
        return identity
    }
}
