internal import CUtf8proc

#if canImport(Glibc)
    internal import Glibc
#endif

/// What somebody searched for, or has typed of it so far, in the form in which texts are compared: NFKC, full case
/// folding (STRASSE and straße meet), without control characters and what is invisible, one space where there were
/// several.
///
/// NFKC makes one of what Unicode calls compatible: full-width letters, ligatures, mathematical alphabets, half-width
/// katakana. It does not touch what only looks alike: a Cyrillic а stays another letter than a Latin a, a zero than an
/// O.
public struct SuggestText: Hashable, Sendable {
    public enum Role: Sendable {
        /// Whole: spaces at both ends go.
        case query
        /// Something follows: a space at the end says that the word before it is complete.
        case prefix
    }

    public enum Problem: Error, Sendable {
        /// Nothing is left of it.
        case empty
        /// No UTF-8; a lone surrogate is none either.
        case malformed
        /// More than ``SuggestText/longestInput`` bytes as given, or as normalised.
        case tooLong
    }

    /// Bytes that are looked at at all.
    public static let longestInput = 512

    /// UTF-8.
    public let bytes: [UInt8]

    public var string: String { String(decoding: bytes, as: UTF8.self) }

    /// - Parameters:
    ///   - utf8: as given, of any length and content.
    ///   - locale: whose capital I is that of ı decides Turkish and Azerbaijani.
    ///   - folding: false keeps the case.
    public init(
        utf8: some Collection<UInt8>,
        _ role: Role,
        locale: SuggestLocale = .fallback,
        folding: Bool = true
    ) throws(Problem) {
        guard utf8.count <= Self.longestInput else { throw .tooLong }
        let options = folding ? SuggestNormalisation.compared : SuggestNormalisation.cased
        guard
            let result = utf8.withContiguousStorageIfAvailable({
                SuggestNormalisation.apply(options, to: $0, role, isTurkic: locale.isTurkic)
            })
                ?? Array(utf8).withUnsafeBufferPointer({
                    SuggestNormalisation.apply(options, to: $0, role, isTurkic: locale.isTurkic)
                })
        else { throw .malformed }
        guard !result.isEmpty else { throw .empty }
        // One character may become eighteen.
        guard result.count <= Self.longestInput else { throw .tooLong }
        bytes = result
    }

    /// A text as people are shown it: composed (NFC), with its case, without control characters and marks that turn the
    /// direction of writing, one space where there were several.
    public static func display(of utf8: some Collection<UInt8>) throws(Problem) -> String {
        guard utf8.count <= Self.longestInput else { throw .tooLong }
        guard
            let result = Array(utf8).withUnsafeBufferPointer({
                SuggestNormalisation.apply(SuggestNormalisation.shown, to: $0, .query, isTurkic: false)
            })
        else { throw .malformed }
        guard !result.isEmpty else { throw .empty }
        return String(decoding: result, as: UTF8.self)
    }
}

/// utf8proc with what its options do not do.
enum SuggestNormalisation {
    typealias Options = utf8proc_option_t

    /// NFKC_Casefold (Unicode 3.13), control characters removed.
    static let compared = Options(
        rawValue: cased.rawValue | UTF8PROC_CASEFOLD.rawValue
    )
    static let cased = Options(
        rawValue: UTF8PROC_STABLE.rawValue | UTF8PROC_COMPOSE.rawValue | UTF8PROC_COMPAT.rawValue
            | UTF8PROC_IGNORE.rawValue | UTF8PROC_STRIPCC.rawValue
    )
    static let shown = Options(
        rawValue: UTF8PROC_STABLE.rawValue | UTF8PROC_COMPOSE.rawValue | UTF8PROC_STRIPCC.rawValue
    )

    /// - Returns: nil for what is no UTF-8.
    static func apply(
        _ options: Options,
        to input: UnsafeBufferPointer<UInt8>,
        _ role: SuggestText.Role,
        isTurkic: Bool
    ) -> [UInt8]? {
        let folds = options.rawValue & UTF8PROC_CASEFOLD.rawValue != 0
        if input.allSatisfy({ 0x20..<0x7F ~= $0 && !(isTurkic && folds && $0 == UInt8(ascii: "I")) }) {
            return collapsed(input, role, folds: folds)
        }
        var output: UnsafeMutablePointer<UInt8>?
        let length = utf8proc_map_custom(
            input.baseAddress,
            input.count,
            &output,
            options,
            isTurkic && folds ? foldTurkic : nil,
            nil
        )
        defer { free(output) }
        guard length >= 0, let output else { return nil }
        return collapsed(UnsafeBufferPointer(start: output, count: length), role, folds: folds)
    }

    /// The T mappings of CaseFolding.txt.
    private static let foldTurkic: utf8proc_custom_func = { scalar, _ in
        switch scalar {
        case 0x49: 0x131
        case 0x130: 0x69
        default: scalar
        }
    }

    private static func collapsed(_ input: UnsafeBufferPointer<UInt8>, _ role: SuggestText.Role, folds: Bool) -> [UInt8]
    {
        var result = [UInt8](unsafeUninitializedCapacity: input.count) { text, count in
            var at = 0
            while at < input.count {
                let special = special(in: input, at: at)
                switch special.kind {
                case .none:
                    let byte = input[at]
                    text[count] = folds && 0x41...0x5A ~= byte ? byte | 0x20 : byte
                    count += 1
                case .space:
                    if count > 0, text[count - 1] != 0x20 {
                        text[count] = 0x20
                        count += 1
                    }
                case .directional: break
                case .dotAbove:
                    // İ folds to i with a second dot; who types i means it too.
                    guard folds, count > 0, text[count - 1] == UInt8(ascii: "i") else {
                        text[count] = input[at]
                        text[count + 1] = input[at + 1]
                        count += 2
                        break
                    }
                }
                at += special.length
            }
        }
        if case .query = role, result.last == 0x20 { result.removeLast() }
        return result
    }

    private enum Special { case none, space, directional, dotAbove }

    private static func special(in input: UnsafeBufferPointer<UInt8>, at: Int) -> (kind: Special, length: Int) {
        switch input[at] {
        case 0x20: return (.space, 1)
        case 0xC2 where input[at + 1] == 0xA0: return (.space, 2)
        case 0xCC where input[at + 1] == 0x87: return (.dotAbove, 2)
        case 0xE1 where input[at + 1] == 0x9A && input[at + 2] == 0x80: return (.space, 3)
        case 0xE3 where input[at + 1] == 0x80 && input[at + 2] == 0x80: return (.space, 3)
        case 0xE2 where input[at + 1] == 0x80:
            switch input[at + 2] {
            // U+2000 to U+200A, U+2028, U+2029, U+202F
            case 0x80...0x8A, 0xA8, 0xA9, 0xAF: return (.space, 3)
            // U+200E, U+200F, U+202A to U+202E
            case 0x8E, 0x8F, 0xAA...0xAE: return (.directional, 3)
            default: return (.none, 1)
            }
        case 0xE2 where input[at + 1] == 0x81:
            switch input[at + 2] {
            case 0x9F: return (.space, 3)
            // U+2066 to U+2069
            case 0xA6...0xA9: return (.directional, 3)
            default: return (.none, 1)
            }
        default: return (.none, 1)
        }
    }
}
