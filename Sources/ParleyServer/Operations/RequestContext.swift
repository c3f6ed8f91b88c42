public import Hummingbird
import ParleyWire

/// What a request carries through middleware to its route.
public struct ParleyRequestContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    /// Set by ``Authenticator``.
    public var identity: Identity?

    public init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
    }

    /// Who asks.
    ///
    /// - Throws: `unauthorized` on a route that stands outside an authenticated group.
    public func requireIdentity() throws(HTTPProblem) -> Identity {
        guard let identity else { throw HTTPProblem(.unauthorized, "Sign in first.") }
        return identity
    }
}
