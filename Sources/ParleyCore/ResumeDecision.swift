public import ParleyWire

/// How a session goes on from where its client left off.
public enum ResumeDecision {
    /// - Parameters:
    ///   - resume: the client's cursor, if it has one.
    ///   - head: the queue's last position.
    ///   - firstAvailable: the lowest position that the queue still has, or will have.
    public static func mode(
        resume: (epoch: String, q: Int64)?,
        epoch: String,
        head: Int64,
        firstAvailable: Int64
    ) -> ServerFrame.Mode {
        guard let resume else { return .live }
        guard resume.epoch == epoch, resume.q <= head, resume.q >= firstAvailable - 1 else { return .resync }
        return resume.q == head ? .live : .replay
    }
}
