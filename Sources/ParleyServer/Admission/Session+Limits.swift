import ParleyCore
import ParleyWire

/// What a session's user may do, and how often.
extension Session {
    /// Whether a frame may be acted on. If not, it was answered.
    func admits(_ frame: ClientFrame) -> Bool {
        guard let allowance, let activity = Activity(frame.operation) else { return true }
        let admission = services.admission
        if admission.sheds(activity) {
            let problem = Admission.shed
            refuse(frame, activity, .overloaded, problem.detail, Int64(problem.retryMilliseconds ?? 1000))
            return false
        }
        let wait = admission.limiter?.take(activity, of: allowance) ?? 0
        guard wait > 0 else { return true }
        refuse(frame, activity, .rateLimited, "too many of these frames", (wait + 999) / 1000)
        // Who does not wait as told is sent away; a few that were on their way are nobody's fault.
        if admission.limiter?.take(.frame, of: allowance) != 0 { close(.rateLimited) }
        return false
    }

    private func refuse(
        _ frame: ClientFrame,
        _ activity: Activity,
        _ code: ErrorCode,
        _ message: String,
        _ retryMilliseconds: Int64
    ) {
        let cid: ClientMessageID? =
            switch frame.operation {
            case .send(let send): send.cid
            case .edit(let edit): edit.cid
            case .delete(let deletion): deletion.cid
            default: nil
            }
        let error = FrameError(code, message, id: frame.id, cid: cid.map { FrameID($0) })
        refuse(error, retryMilliseconds: retryMilliseconds, activity)
    }
}
