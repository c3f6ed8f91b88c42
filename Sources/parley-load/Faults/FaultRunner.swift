import Synchronization

/// Carries out a fault script on a stack while something else goes on.
final class FaultRunner: Sendable {
    /// When a fault had taken effect: for a start, when the process was ready.
    struct Mark: Sendable, Equatable, Encodable {
        /// Seconds since the load began.
        var s: Double
        var what: String
    }

    let script: FaultScript
    private let stack: StackCommand
    private let state = Mutex(State())

    private struct State {
        var marks: [Mark] = []
        /// What was last done to a process.
        var last: [String: FaultScript.Action] = [:]
    }

    init(_ script: FaultScript, on stack: StackCommand) {
        self.script = script
        self.stack = stack
    }

    /// What has taken effect so far.
    var marks: [Mark] { state.withLock { $0.marks } }

    /// Carries the faults out while `load` runs, each at its time after now, or once the one before it has taken effect
    /// where that is later: a script says what happens one after the other, also on a machine that is slow today.
    /// Faults that are due only after the end of `load` are left out.
    ///
    /// However it ends, what was left paused is resumed, and what was left ended stays so; a line names each.
    ///
    /// - Throws: what `load` throws; `LoadError` where a fault failed, and then `load` is cancelled: this was not the
    ///   run that was asked for.
    func during<Value: Sendable>(_ load: @escaping @Sendable () async throws -> Value) async throws -> Value {
        do {
            let value = try await carryOut(during: load)
            await settle()
            return value
        } catch {
            await settle()
            throw error
        }
    }

    private func carryOut<Value: Sendable>(
        during load: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let start = ContinuousClock.now
        return try await withThrowingTaskGroup(of: Value?.self) { tasks in
            tasks.addTask {
                try await self.carryOut(self.script.faults, from: start)
                return nil
            }
            tasks.addTask { try await load() }
            var result: Value?
            // A fault that is under way when the load ends must come to a good end too.
            while let ended = try await tasks.next() {
                guard let value = ended else { continue }
                result = value
                tasks.cancelAll()
            }
            guard let result else { preconditionFailure("a load ends with a value or an error") }
            return result
        }
    }

    private func carryOut(_ faults: [FaultScript.Fault], from start: ContinuousClock.Instant) async throws(LoadError) {
        for fault in faults {
            guard (try? await Task.sleep(until: start + fault.time, clock: .continuous)) != nil else { return }
            state.withLock { $0.last[fault.process] = fault.action }
            do throws(LoadError) {
                try await stack.run(fault.action, fault.process)
            } catch {
                throw LoadError("line \(fault.line) of the fault script: \(error)")
            }
            let seconds = rounded((ContinuousClock.now - start) / .seconds(1))
            state.withLock { $0.marks.append(Mark(s: seconds, what: fault.what)) }
        }
    }

    private func settle() async {
        for (process, action) in state.withLock({ $0.last }).sorted(by: { $0.key < $1.key }) {
            switch action {
            case .start, .resume: break
            case .kill, .stop: say("\(process) stays ended: Scripts/stack start \(process) starts it again")
            case .pause:
                do throws(LoadError) {
                    try await stack.run(.resume, process)
                    say("resumed \(process), which was left paused")
                } catch {
                    say("\(process) was left paused: \(error)")
                }
            }
        }
    }
}
