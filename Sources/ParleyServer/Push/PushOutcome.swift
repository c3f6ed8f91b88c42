/// What a provider's answer means.
enum PushOutcome: Sendable, Hashable {
    case sent
    /// The provider knows the device no more; it is forgotten unless it was registered after `since`, in milliseconds since
    /// 1970, where the provider says that.
    case gone(String, since: Int64? = nil)
    /// Try again, after so many milliseconds at least.
    case retry(String, after: Int64? = nil)
    /// This one asks for patience and is not to be blamed: the provider works.
    case limited(String, after: Int64?)
    /// Shorter, please.
    case tooLarge
    /// The provider does not take what this deployment shows of itself: nothing to that provider will get through.
    case credentials(String)
    /// It will never be taken.
    case refused(String)

    static let names = ["sent", "gone", "retried", "limited", "too_large", "credentials", "refused"]

    /// As metrics call it: one of `names`.
    var name: String {
        switch self {
        case .sent: "sent"
        case .gone: "gone"
        case .retry: "retried"
        case .limited: "limited"
        case .tooLarge: "too_large"
        case .credentials: "credentials"
        case .refused: "refused"
        }
    }
}
