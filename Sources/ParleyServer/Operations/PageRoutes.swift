import HTTPTypes
import Hummingbird
import NIOCore

/// The web client at `/`: files that are part of the binary, under a policy that lets nothing else run.
struct PageRoutes {
    private static let policy = [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:",
        "connect-src 'self' http: https: ws: wss:",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    ].joined(separator: "; ")

    private static let files: [(path: String, type: String, bytes: [UInt8])] = [
        ("/", "text/html; charset=utf-8", PackageResources.index_html),
        ("/parley.css", "text/css; charset=utf-8", PackageResources.parley_css),
        ("/account.js", script, PackageResources.account_js),
        ("/app.js", script, PackageResources.app_js),
        ("/chat.js", script, PackageResources.chat_js),
        ("/conversations.js", script, PackageResources.conversations_js),
        ("/dom.js", script, PackageResources.dom_js),
        ("/parley.js", script, PackageResources.parley_js),
        ("/push.js", script, PackageResources.push_js),
        ("/rules.js", script, PackageResources.rules_js),
        ("/sidebar.js", script, PackageResources.sidebar_js),
        ("/sign.js", script, PackageResources.sign_js),
        ("/worker.js", script, PackageResources.worker_js),
    ]
    private static let script = "text/javascript; charset=utf-8"

    func add(to router: some RouterMethods<ParleyRequestContext>) {
        for file in Self.files {
            let body = ByteBuffer(bytes: file.bytes)
            router.get(RouterPath(file.path)) { _, _ in
                Response(
                    status: .ok,
                    headers: [
                        .contentType: file.type,
                        .cacheControl: "no-cache",
                        .contentSecurityPolicy: Self.policy,
                        .xContentTypeOptions: "nosniff",
                        .referrerPolicy: "no-referrer",
                    ],
                    body: ResponseBody(byteBuffer: body)
                )
            }
        }
    }
}

extension HTTPField.Name {
    fileprivate static let referrerPolicy = Self("Referrer-Policy")!
}
