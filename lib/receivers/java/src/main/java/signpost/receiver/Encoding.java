package signpost.receiver;

import java.util.Base64;
import java.util.Optional;

/** Base64 and numbers, as Signpost writes them. */
final class Encoding {
    private Encoding() {}

    static Optional<byte[]> base64(String text) {
        return decode(Base64.getDecoder(), Base64.getEncoder(), text);
    }

    static Optional<byte[]> base64url(String text) {
        return decode(Base64.getUrlDecoder(), Base64.getUrlEncoder().withoutPadding(), text);
    }

    /** Decodes what the encoder would write. The decoders of the JDK accept missing padding, too. */
    private static Optional<byte[]> decode(Base64.Decoder decoder, Base64.Encoder encoder, String text) {
        try {
            byte[] bytes = decoder.decode(text);
            return encoder.encodeToString(bytes).equals(text) ? Optional.of(bytes) : Optional.empty();
        } catch (IllegalArgumentException error) {
            return Optional.empty();
        }
    }

    /** Reads seconds or a count: some digits, and no more than {@code most}. */
    static Optional<Long> number(String text, int most) {
        boolean isNumber = text != null && text.length() <= most && text.matches("[0-9]+");
        return isNumber ? Optional.of(Long.valueOf(text)) : Optional.empty();
    }
}
