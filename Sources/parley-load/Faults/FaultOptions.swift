import ArgumentParser
import Foundation

/// For scenarios that can be run while a stack's processes fail.
struct FaultOptions: ParsableArguments {
    @Option(help: "A script of faults to carry out meanwhile, such as Scripts/faults/each-process.txt; needs --stack.")
    var faults: String?

    @Option(help: "The program that steers the stack's processes.")
    var stackCommand = "Scripts/stack"

    /// Nil without --faults.
    ///
    /// - Parameters:
    ///   - stackPath: of stack.json.
    ///   - seconds: how long the load lasts; a script that goes on for longer is refused.
    func runner(stackPath: String?, seconds: Double) throws(LoadError) -> FaultRunner? {
        guard let faults else { return nil }
        guard let stackPath else { throw LoadError("--faults needs --stack: whose processes?") }
        let text: String
        let stack: StackDescription
        do {
            text = try String(contentsOfFile: faults, encoding: .utf8)
            stack = try StackDescription(path: stackPath)
        } catch {
            throw error as? LoadError ?? LoadError("\(faults) cannot be read: \(error.localizedDescription)")
        }
        let script: FaultScript
        do throws(LoadError) {
            script = try FaultScript(text, processes: stack.processes.map(\.name))
        } catch {
            throw LoadError("\(faults), \(error)")
        }
        guard script.end < .seconds(seconds) else {
            throw LoadError("\(faults) goes on until \(script.end), and the load ends after \(seconds) s")
        }
        return FaultRunner(script, on: try StackCommand(stackCommand, stackPath: stackPath))
    }
}
