/// Why a frame was refused, with what its answer must echo.
public struct FrameError: Error, Hashable, Sendable {
    public var code: ErrorCode
    /// Names the field, for the client's developer.
    public var message: String
    /// The frame's `id` and `cid`, as far as they could be read.
    public var id: FrameID?
    public var cid: FrameID?

    public init(_ code: ErrorCode, _ message: String, id: FrameID? = nil, cid: FrameID? = nil) {
        self.code = code
        self.message = message
        self.id = id
        self.cid = cid
    }
}
