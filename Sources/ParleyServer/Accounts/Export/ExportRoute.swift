import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import ParleyWire
import ServiceLifecycle

/// `GET /v1/me/export`: one at a time a user.
struct ExportRoute: Sendable {
    let accounts: Accounts
    let export: AccountExport

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        router.group().add(middleware: accounts.authenticator).get("/v1/me/export") { _, context in
            let identity = try context.requireIdentity()
            guard let profile = try await accounts.store.profile(of: identity.user) else {
                throw HTTPProblem(.unauthorized, "This account is gone.")
            }
            guard let lease = try await accounts.store.beginExport(of: identity.user) else {
                let wait = Int(AccountStore.exportLeaseDuration)
                throw HTTPProblem(.rateLimited, "An export is being written already.", retryMilliseconds: wait)
            }
            let body = ResponseBody { writer in
                let written = AccountExport.Counter()
                let channel = context.channel
                async let _ = watch(lease, identity, written, channel, context.logger)
                do {
                    try await export.write(profile, identity, to: &writer, written: written)
                } catch {
                    context.logger.warning("export cut off", metadata: ["error": "\(error)"])
                    try? await accounts.store.end(lease)
                    throw error
                }
                try await accounts.store.end(lease)
                try await writer.finish(nil)
            }
            return Response(
                status: .ok,
                headers: [
                    .contentType: "application/x-ndjson",
                    .contentDisposition: #"attachment; filename="parley-export.jsonl""#,
                    .cacheControl: "no-store",
                ],
                body: body
            )
        }
    }

    /// How long a client may take nothing.
    private static let patience = Duration.seconds(60)

    /// Renews the lease while the export is written. Closes the connection of one that must not go on: its sign-in was
    /// ended, the client takes nothing, this gateway drains.
    private func watch(
        _ lease: AccountStore.ExportLease,
        _ identity: Identity,
        _ written: AccountExport.Counter,
        _ channel: any Channel,
        _ logger: Logger
    ) async {
        var (seen, since, renewal) = (0, ContinuousClock.now, ContinuousClock.now)
        while (try? await Task.sleep(for: .seconds(1))) != nil {
            if written.value > seen { (seen, since) = (written.value, .now) }
            var mayGoOn = since + Self.patience > .now && !Task.isShuttingDownGracefully
            if mayGoOn, renewal + .seconds(10) <= .now {
                renewal = .now
                let isRevoked = try? await accounts.revocations.isRevoked(user: identity.user, login: identity.login)
                let isRenewed = try? await accounts.store.renew(lease)
                // Where a store does not answer, the export itself ends.
                mayGoOn = isRevoked != true && isRenewed != false
            }
            guard !mayGoOn, !Task.isCancelled else { continue }
            logger.notice("export ended by the server")
            channel.close(promise: nil)
            return
        }
    }
}
