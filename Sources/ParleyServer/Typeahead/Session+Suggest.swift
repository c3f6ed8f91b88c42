import ParleyCore
import ParleyWire

/// A session and suggestions.
extension Session {
    func suggest(_ text: String, _ locale: String?, id: FrameID?) {
        guard let engine = services.suggest?[eventLoop] else {
            return refuse(FrameError(.unavailable, "there are no suggestions here", id: id))
        }
        guard let locale = locale.map({ SuggestLocale($0) }) ?? .fallback else {
            return refuse(FrameError(.invalid, "locale is none", id: id))
        }
        guard let list = engine.list(for: locale) else { return write(ServerFrame(.suggestions([]), id: id)) }
        do throws(SuggestText.Problem) {
            let text = Array(text.utf8)
            guard let known = try engine.known(text, in: list) else {
                guard beginCall(id: id) else { return }
                return try engine.complete(text, in: list) { [self] result in
                    suggestionsCame(result, engine.filter, id: id)
                    endCall()
                }
            }
            suggestionsCame(.success(known), engine.filter, id: id)
        } catch {
            refuse(FrameError(.invalid, error.problem.detail, id: id))
        }
    }

    private func suggestionsCame(_ result: Result<RankedList, HTTPProblem>, _ filter: SuggestFilter, id: FrameID?) {
        switch result {
        case .success(let list):
            let items = list.items(filter).prefix(SuggestQuestion.defaultLimit)
            write(
                ServerFrame(.suggestions(items.map { .init(text: $0.display, score: $0.weight) }), id: id)
            )
        case .failure(let problem):
            let retry = problem.retryMilliseconds.map { Int64($0) }
            refuse(FrameError(problem.code, problem.detail, id: id), retryMilliseconds: retry)
        }
    }
}
