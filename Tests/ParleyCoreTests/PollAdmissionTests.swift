import ParleyCore
import Testing

@Suite struct PollAdmissionTests {
    @Test(arguments: [
        (0, 0, 10, PollAdmission.wait), (9, 60_000, 10, .wait), (10, 1000, 10, .displaceOldest),
        (10, 999, 10, .refuse), (11, 30_000, 10, .displaceOldest), (1, 0, 1, .refuse),
    ])
    func `beyond the limit the oldest makes room, unless it has just begun`(
        waiting: Int,
        oldest: Int64,
        limit: Int,
        admission: PollAdmission
    ) {
        #expect(PollAdmission(waiting: waiting, oldest: oldest, limit: limit) == admission)
    }
}
