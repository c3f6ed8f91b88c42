import Hummingbird
import NIOCore
import ParleyWire

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

extension Request {
    /// Reads the JSON body.
    ///
    /// - Throws: `HTTPProblem`: `too_large` beyond `maximumBytes`, `bad_frame` for what is not JSON, `invalid`, naming
    ///   the field, for JSON of another shape.
    func decodeJSON<T: Decodable>(_ type: T.Type = T.self, maximumBytes: Int = 16_384) async throws -> T {
        try Self.decode(await collect(upTo: maximumBytes))
    }

    /// As ``decodeJSON(_:maximumBytes:)``; nil where there is no body.
    func decodeJSONIfPresent<T: Decodable>(_ type: T.Type = T.self, maximumBytes: Int = 16_384) async throws -> T? {
        let body = try await collect(upTo: maximumBytes)
        return body.readableBytes == 0 ? nil : try Self.decode(body)
    }

    private func collect(upTo maximumBytes: Int) async throws -> ByteBuffer {
        do {
            return try await body.collect(upTo: maximumBytes)
        } catch is NIOTooManyBytesError {
            throw HTTPProblem(.tooLarge, "The body is larger than \(maximumBytes) bytes.")
        }
    }

    private static func decode<T: Decodable>(_ body: ByteBuffer) throws -> T {
        do {
            // As strict as on the socket: the decoder alone lets trailing commas pass.
            try body.withUnsafeReadableBytes { bytes in
                var scanner = JSONScanner(bytes)
                try scanner.skipValue()
                try scanner.finish()
            }
            return try JSONDecoder().decode(T.self, from: Data(body.readableBytesView))
        } catch let error as JSONError {
            throw HTTPProblem(.badFrame, "The body is not JSON: \(error).")
        } catch let error as DecodingError {
            throw HTTPProblem(decoding: error)
        }
    }

    /// `limit` of a list: 1–200, 50 where it is not given.
    func pageLimit() throws(HTTPProblem) -> Int {
        guard let text = uri.queryParameters["limit"] else { return 50 }
        guard let limit = Int(text), (1...200).contains(limit) else {
            throw HTTPProblem(.invalid, "limit: expected a number from 1 to 200.")
        }
        return limit
    }
}

extension HTTPProblem {
    init(decoding error: DecodingError) {
        switch error {
        case .keyNotFound(let key, let context):
            self = .invalid(Self.path(context.codingPath + [key]), "is missing.")
        case .typeMismatch(let type, let context):
            self = .invalid(Self.path(context.codingPath), "expected \(Self.name(of: type)).")
        case .valueNotFound(_, let context):
            self = .invalid(Self.path(context.codingPath), "must not be null.")
        case .dataCorrupted(let context) where !context.codingPath.isEmpty:
            self = .invalid(Self.path(context.codingPath), "\(context.debugDescription)")
        default:
            self = HTTPProblem(.badFrame, "The body is not JSON.")
        }
    }

    /// A field that does not fit.
    static func invalid(_ field: String, _ reason: String) -> HTTPProblem {
        HTTPProblem(.invalid, "\(field): \(reason)")
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        keys.isEmpty ? "body" : keys.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".")
    }

    private static func name(of type: any Any.Type) -> String {
        switch type {
        case is String.Type: "a string"
        case is Bool.Type: "true or false"
        case is any BinaryInteger.Type, is any BinaryFloatingPoint.Type: "a number"
        case is any Sequence.Type where !(type is [String: Any].Type): "a list"
        default: "an object"
        }
    }
}
