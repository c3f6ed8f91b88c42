/// Of this build, as the registry shows it.
enum Version {
    static let current = "0.6.0"
}
