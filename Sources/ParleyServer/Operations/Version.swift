/// Of this build.
public enum Version {
    /// As the registry shows it.
    public static let current = "0.6.0"

    /// The compiler's.
    static var swift: String {
        #if compiler(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }
}
