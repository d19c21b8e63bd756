package signpost.receiver;

import static signpost.receiver.Request.ALL_HEADERS;
import static signpost.receiver.Request.BEFORE_PARSER;
import static signpost.receiver.Request.REFUSE;
import static signpost.receiver.Request.UNCHANGED;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Verifies the webhooks of one endpoint. Make one for the life of the program: it keeps the keys. Threads may share it.
 *
 * <p>The steps of a verification have the names of {@code signpost verify}.
 */
public final class Receiver {
    private static final Pattern KID = Pattern.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
    private static final List<String> REQUIRED = List.of("@method", "@target-uri", "content-digest", "webhook-id");
    private static final Map<String, String> COVERED = Map.of("webhook-id", "id", "ce-source", "source", "ce-type", "type");

    private final KeySet keys;
    private final List<byte[]> secrets;
    private final String endpoint;
    private final String url;
    private final Algorithm algorithm;
    private final Set<Format> formats;
    private final Predicate<String> seen;
    private final long tolerance;
    private final Clock clock;

    private Receiver(Builder builder) {
        keys = builder.keys;
        secrets = List.copyOf(builder.secrets);
        endpoint = builder.endpoint;
        url = builder.url;
        algorithm = builder.algorithm;
        formats = Set.copyOf(builder.formats);
        seen = builder.seen;
        tolerance = builder.tolerance.toSeconds();
        clock = builder.clock;
    }

    /** Begins a receiver. Give at least {@link Builder#keysUrl} or {@link Builder#secret}. */
    public static Builder builder() {
        return new Builder();
    }

    /** The settings of a receiver, from your own configuration and never from a request. */
    public static final class Builder {
        private KeySet keys;
        private final List<byte[]> secrets = new ArrayList<>();
        private String endpoint;
        private String url;
        private Algorithm algorithm;
        private List<Format> formats = List.of(Format.values());
        private Predicate<String> seen = id -> false;
        private Duration tolerance = Duration.ofMinutes(5);
        private Clock clock = Clock.systemUTC();

        private Builder() {}

        /** Sets the endpoint's {@code jwksUrl}: for JWS, HTTP message signatures, and with an endpoint for {@code v1a}. */
        public Builder keysUrl(String keysUrl) {
            return keys(new KeySet(keysUrl));
        }

        /** Sets keys instead of their URL. */
        public Builder keys(KeySet given) {
            keys = given;
            return this;
        }

        /** Adds the endpoint's {@code signingSecret} ({@code whsec_…}), for {@code v1}. Several may count. */
        public Builder secret(String secret) {
            String text = secret.startsWith("whsec_") ? secret.substring(6) : secret;
            secrets.add(Encoding.base64(text).filter(bytes -> bytes.length >= 24 && bytes.length <= 64)
                    .orElseThrow(() -> new IllegalArgumentException(
                            "a secret cannot be read; expected `whsec_` and base64, as the API shows `signingSecret`")));
            return this;
        }

        /** Sets the endpoint's id, {@code ep_…}. */
        public Builder endpoint(String id) {
            endpoint = id;
            return this;
        }

        /** Sets the endpoint's {@code url}: for HTTP message signatures and for {@code GET}. */
        public Builder url(String endpointUrl) {
            url = endpointUrl;
            return this;
        }

        /** Sets the endpoint's {@code jwsAlgorithm}; without it, that of the key counts. */
        public Builder algorithm(Algorithm only) {
            algorithm = only;
            return this;
        }

        /** Sets the formats that you accept; without it, all that the settings can verify. */
        public Builder formats(Format... accepted) {
            formats = List.of(accepted);
            return this;
        }

        /** Sets a function that says whether you have handled the event of an id already. */
        public Builder seen(Predicate<String> hook) {
            seen = hook;
            return this;
        }

        /** Sets how far the moment of signing may be from the clock; five minutes by default. */
        public Builder tolerance(Duration most) {
            tolerance = most;
            return this;
        }

        /** Sets a clock, for tests. */
        public Builder clock(Clock given) {
            clock = given;
            return this;
        }

        /** Makes the receiver. Fetches nothing yet. */
        public Receiver build() {
            if (keys == null && secrets.isEmpty()) {
                throw new IllegalArgumentException("there is neither `keysUrl` nor `secret`; expected one of them");
            }
            if (formats.isEmpty()) {
                throw new IllegalArgumentException("`formats` is empty; expected at least one format");
            }
            return new Receiver(this);
        }
    }

    /**
     * Verifies a {@code POST} to the receiver's URL, and returns its event.
     *
     * @see #verify(Map, byte[], String, String)
     */
    public Event verify(Map<String, ? extends Collection<String>> headers, byte[] body) throws ReceiverException {
        return verify(headers, body, null, "POST");
    }

    /**
     * Verifies a request, and returns its event. Every signature of the accepted formats must be right. May fetch keys, for at
     * most the time-out of the key set.
     *
     * @param headers all headers
     * @param body the bytes as they arrived; empty for {@code GET}
     * @param calledUrl the URL that was called; null if the method is not {@code GET}, and the receiver has a URL
     * @param method the method
     * @throws VerificationException if the request does not verify
     * @throws KeysUnavailableException if the keys cannot be fetched
     */
    public Event verify(Map<String, ? extends Collection<String>> headers, byte[] body, String calledUrl, String method)
            throws ReceiverException {
        Request request = new Request(headers, body == null ? new byte[0] : body, method, url, calledUrl);
        Set<String> signed = new TreeSet<>();
        for (Format format : wanted(request)) {
            switch (format) {
                case JWS -> jws(request);
                case STANDARD_WEBHOOKS -> {
                    standardWebhooks(request);
                    signed.add("id");
                }
                case HTTP_MESSAGE_SIGNATURES -> signed.addAll(http(request));
            }
        }
        return event(request, signed);
    }

    /** Lists the formats that the request has and this receiver verifies. */
    private List<Format> wanted(Request request) throws VerificationException {
        List<Format> present = Arrays.stream(Format.values()).filter(format -> switch (format) {
            case JWS -> request.headers.containsKey("jws-signature");
            case STANDARD_WEBHOOKS -> request.headers.containsKey("webhook-signature");
            case HTTP_MESSAGE_SIGNATURES -> request.headers.containsKey("signature")
                    || request.headers.containsKey("signature-input");
        }).toList();
        List<Format> wanted = present.stream().filter(formats::contains).filter(this::canVerify).toList();
        if (!wanted.isEmpty()) {
            return wanted;
        }
        if (present.contains(Format.STANDARD_WEBHOOKS) && formats.contains(Format.STANDARD_WEBHOOKS)) {
            throw new VerificationException("secret",
                    "there is neither a secret for `v1` nor the endpoint's id for `v1a`",
                    "add `secret` or `endpoint` to the receiver's settings");
        }
        if (!present.isEmpty()) {
            String names = present.stream().map(Format::toString).collect(Collectors.joining(", "));
            throw new VerificationException("no-signature",
                    "the request has " + names + ", which this receiver does not verify",
                    "compare `formats`, and the endpoint's `signatures`");
        }
        String names = String.join(", ", request.headers.keySet());
        throw new VerificationException("no-signature",
                "there is no `jws-signature`, `webhook-signature` or `signature`; the headers are " + names, ALL_HEADERS);
    }

    private boolean canVerify(Format format) {
        if (format == Format.STANDARD_WEBHOOKS) {
            return !secrets.isEmpty() || (keys != null && endpoint != null);
        }
        return keys != null;
    }

    private Event event(Request request, Set<String> signed) {
        String source = request.header("ce-source").map(Receiver::decoded).orElse(null);
        String type = request.header("ce-type").map(Receiver::decoded).orElse(null);
        String mediaType = request.header("content-type").orElse("").split(";", 2)[0].trim();
        if (mediaType.equalsIgnoreCase("application/cloudevents+json")) {
            Map<?, ?> whole = Json.parseObject(request.body).orElse(Map.of());
            if (whole.get("source") instanceof String ofBody && whole.get("type") instanceof String typeOfBody) {
                source = ofBody;
                type = typeOfBody;
                signed.addAll(Set.of("source", "type"));
            }
        }
        String id = request.headers.get("webhook-id");
        Integer attempt = Encoding.number(request.headers.get("signpost-attempt"), 9).map(Long::intValue).orElse(null);
        boolean isRepeated = id != null && seen.test(id);
        String replay = request.headers.get("signpost-replay");
        return new Event(id, source, type, attempt, replay, request.payload, Set.copyOf(signed), isRepeated);
    }

    /** Verifies a JWS (RFC 7515, appendix F). */
    private void jws(Request request) throws ReceiverException {
        String[] parts = request.needed("jws-signature").split("\\.", -1);
        if (parts.length != 3) {
            throw new VerificationException("malformed",
                    "`jws-signature` has " + parts.length + " parts; expected `<header>..<signature>`", UNCHANGED);
        }
        if (!parts[1].isEmpty()) {
            throw new VerificationException("not-detached",
                    "the payload is inside `jws-signature`; expected nothing between the two dots",
                    "take the header as it arrived");
        }
        Map<?, ?> header = Encoding.base64url(parts[0]).flatMap(Json::parseObject)
                .filter(one -> !one.containsKey("crit")).orElse(null);
        if (header == null) {
            throw new VerificationException(
                    "malformed", "the first part of `jws-signature` is not base64url of JSON", UNCHANGED);
        }
        String name = header.get("alg") instanceof String text ? text : null;
        Algorithm named = Algorithm.find(one -> one.jwsName, name).orElse(null);
        if (named == null) {
            throw new VerificationException(
                    "algorithm", "`alg` is `" + name + "`; expected RS256, ES256 or EdDSA", REFUSE);
        }
        byte[] signature = Encoding.base64url(parts[2]).orElse(null);
        if (signature == null) {
            throw new VerificationException(
                    "signature-malformed", "the signature is not base64url without padding", UNCHANGED);
        }
        Key key = key(header.get("kid") instanceof String kid ? kid : "", named, signature);
        String payload = Base64.getUrlEncoder().withoutPadding().encodeToString(request.payload);
        if (!key.verifies((parts[0] + "." + payload).getBytes(StandardCharsets.US_ASCII), signature)) {
            throw request.mismatch("the header of the signature and the payload");
        }
    }

    private record Entry(String version, byte[] signature) {}

    /** Verifies Standard Webhooks 1.0.0. */
    private void standardWebhooks(Request request) throws ReceiverException {
        String id = request.needed("webhook-id");
        String timestamp = request.needed("webhook-timestamp");
        Optional<Long> signedAt = Encoding.number(timestamp, 15);
        if (signedAt.isEmpty()) {
            throw new VerificationException("timestamp",
                    "`webhook-timestamp` is `" + timestamp + "`; expected seconds since the Unix epoch", UNCHANGED);
        }
        List<Entry> entries = entries(request.needed("webhook-signature"));
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        content.writeBytes((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        content.writeBytes(request.payload);
        byte[] signed = content.toByteArray();
        if (!fitsV1(entries, signed)) {
            boolean isByKey = fitsV1a(entries, signed);
            if (isByKey && !secrets.isEmpty()) {
                throw new VerificationException("secret",
                        "`v1a` is valid, and no `v1` fits the secret: it is of another endpoint, or was replaced",
                        "enter the endpoint's present `signingSecret` (`whsec_…`)");
            }
            if (!isByKey) {
                throw request.mismatch(
                        "`webhook-id`, `webhook-timestamp` and the payload, under the endpoint's own keys");
            }
        }
        checkAge(signedAt.get(), "webhook-timestamp");
    }

    private static List<Entry> entries(String field) throws VerificationException {
        List<Entry> entries = new ArrayList<>();
        for (String text : field.trim().split(" +")) {
            int comma = text.indexOf(',');
            byte[] signature = comma < 0 ? null : Encoding.base64(text.substring(comma + 1)).orElse(null);
            if (signature == null) {
                String start = text.substring(0, Math.min(30, text.length()));
                throw new VerificationException("signature-malformed",
                        "an entry of `webhook-signature` is `" + start
                                + "`; expected `v1,<base64>` or `v1a,<base64>`", UNCHANGED);
            }
            entries.add(new Entry(text.substring(0, comma), signature));
        }
        return entries;
    }

    private boolean fitsV1(List<Entry> entries, byte[] signed) {
        boolean fits = false;
        for (byte[] secret : secrets) {
            byte[] mac = hmac(secret, signed);
            for (Entry entry : entries) {
                fits |= entry.version.equals("v1") && MessageDigest.isEqual(mac, entry.signature);
            }
        }
        return fits;
    }

    private boolean fitsV1a(List<Entry> entries, byte[] signed) throws KeysUnavailableException {
        List<byte[]> signatures = entries.stream().filter(one -> one.version.equals("v1a")).map(Entry::signature).toList();
        if (keys == null || endpoint == null || signatures.isEmpty()) {
            return false;
        }
        Predicate<KeySet.Copy> fits = copy -> copy.keys.stream()
                .filter(key -> endpoint.equals(key.endpoint()) && key.algorithm() == Algorithm.EDDSA)
                .anyMatch(key -> signatures.stream().anyMatch(one -> key.verifies(signed, one)));
        KeySet.Copy known = keys.keys();
        return fits.test(known) || fits.test(keys.keysAfter(known));
    }

    /** Verifies an HTTP message signature (RFC 9421) with {@code content-digest} (RFC 9530). Returns what it covers. */
    private Set<String> http(Request request) throws ReceiverException {
        String field = request.needed("signature-input");
        String signatures = request.needed("signature");
        SignatureInput input = SignatureInput.ofSignpost(field).orElseThrow(() -> new VerificationException("tag",
                "no signature has the tag `signpost`; `signature-input` is `" + field + "`",
                "use the signature whose `tag` is `signpost`"));
        byte[] signature = checkForm(input, signatures);
        String alg = input.parameters().get("alg");
        Algorithm named = Algorithm.find(one -> one.httpName, alg).orElse(null);
        if (named == null) {
            throw new VerificationException("algorithm",
                    "`alg` is `" + alg + "`; expected rsa-v1_5-sha256, ecdsa-p256-sha256, ed25519", REFUSE);
        }
        for (String name : input.components()) {
            if (!name.startsWith("@") && !request.headers.containsKey(name)) {
                throw new VerificationException(
                        "header-missing", "`" + name + "` is missing; the signature covers it", ALL_HEADERS);
            }
        }
        List<String> urls = request.urls();
        if (urls.isEmpty()) {
            throw new VerificationException("url", "the URL is not known, and the signature covers it",
                    "add `url` to the receiver, from the endpoint's settings");
        }
        Key key = key(input.parameters().getOrDefault("keyid", ""), named, signature);
        checkBase(request, input, urls, key, signature);
        checkDigest(request);
        Optional<Long> created = Encoding.number(input.parameters().get("created"), 15);
        if (created.isEmpty()) {
            throw new VerificationException("timestamp", "`created` is missing or not a number",
                    "refuse the request: Signpost always sends it");
        }
        checkAge(created.get(), "created");
        return input.components().stream().filter(COVERED::containsKey).map(COVERED::get).collect(Collectors.toSet());
    }

    /** Checks the form of an HTTP message signature, and returns its bytes. */
    private static byte[] checkForm(SignatureInput input, String signatures) throws VerificationException {
        for (String name : REQUIRED) {
            if (!input.components().contains(name)) {
                throw new VerificationException("component-missing",
                        "the signature does not cover `" + name + "`; it covers " + String.join(", ", input.components()),
                        "refuse the request: Signpost always covers it");
            }
        }
        String member = SignatureInput.signature(signatures, input.label()).orElse(null);
        if (member == null) {
            throw new VerificationException("malformed",
                    "`signature` has no member `" + input.label() + "`, which `signature-input` has", UNCHANGED);
        }
        boolean isBinary = member.length() >= 2 && member.startsWith(":") && member.endsWith(":");
        byte[] signature = isBinary ? Encoding.base64(member.substring(1, member.length() - 1)).orElse(null) : null;
        if (signature == null) {
            throw new VerificationException(
                    "signature-malformed", "the signature is not base64 between two colons", UNCHANGED);
        }
        return signature;
    }

    private static void checkBase(
            Request request, SignatureInput input, List<String> urls, Key key, byte[] signature) throws VerificationException {
        if (key.verifies(input.base(request, urls.get(0)), signature)) {
            return;
        }
        for (String other : urls.subList(1, urls.size())) {
            if (key.verifies(input.base(request, other), signature)) {
                throw new VerificationException("url",
                        "the signature is for `" + other + "`, and the URL here is `" + urls.get(0) + "`",
                        "build the URL from the endpoint's settings, not from what arrives behind a proxy");
            }
        }
        throw new VerificationException("signature",
                "the signature does not fit; it covers " + String.join(", ", input.components()) + ", for the URL `"
                        + urls.get(0) + "`",
                "compare each with what arrived, and the URL with the endpoint's");
    }

    private static void checkDigest(Request request) throws VerificationException {
        String digest = "sha-256=:" + Base64.getEncoder().encodeToString(sha256(request.body)) + ":";
        if (digest.equals(request.headers.get("content-digest"))) {
            return;
        }
        VerificationException error = request.mismatch("the digest of the body");
        if (!error.step().equals("signature")) {
            throw error;
        }
        throw new VerificationException("digest",
                "the body of " + request.body.length + " bytes does not have the signed digest", BEFORE_PARSER);
    }

    /** Finds the key that a signature names, and checks that the signature can be of it. */
    private Key key(String kid, Algorithm named, byte[] signature) throws ReceiverException {
        if (!KID.matcher(kid).matches()) {
            throw new VerificationException("kid-malformed",
                    "the `kid` is `" + kid.substring(0, Math.min(60, kid.length())) + "`; expected a UUID",
                    "refuse the request, and put nothing but a UUID into a URL");
        }
        KeySet.Copy known = keys.keys();
        Key key = find(known, kid);
        if (key == null) {
            key = find(keys.keysAfter(known), kid);
        }
        if (key == null) {
            throw new VerificationException("kid-unknown", "no key of the set has the `kid` `" + kid + "`",
                    "refuse the request: the key has retired, or the request is for another tenant; compare the key URL");
        }
        Algorithm expected = algorithm == null ? key.algorithm() : algorithm;
        if (named != key.algorithm() || named != expected) {
            throw new VerificationException("algorithm",
                    "the signature names " + named + ", and the key is for " + key.algorithm() + "; expected " + expected,
                    "refuse the request; accept the endpoint's `jwsAlgorithm` only");
        }
        if (signature.length != key.signatureBytes()) {
            throw new VerificationException("signature-malformed",
                    "the signature has " + signature.length + " bytes; expected " + key.signatureBytes() + ", as "
                            + key.algorithm() + " has",
                    "look for a program that cuts long headers");
        }
        return key;
    }

    private static Key find(KeySet.Copy copy, String kid) {
        return copy.keys.stream().filter(key -> key.kid().equals(kid) && key.endpoint() == null).findFirst().orElse(null);
    }

    private void checkAge(long signedAt, String name) throws VerificationException {
        long now = clock.instant().getEpochSecond();
        if (now - signedAt > tolerance) {
            throw new VerificationException("too-old",
                    "the signature is valid, and `" + name + "` is " + (now - signedAt) + " s ago; expected at most "
                            + tolerance + " s",
                    "compare your clock, and look for a queue in front of the receiver");
        }
        if (signedAt - now > tolerance) {
            throw new VerificationException("from-the-future",
                    "`" + name + "` is " + (signedAt - now) + " s ahead of the clock; expected at most " + tolerance + " s",
                    "set the clock of the receiver by NTP");
        }
    }

    /** Decodes a header of CloudEvents (HTTP binding 1.0.2, section 3.1.3.2). */
    private static String decoded(String value) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        byte[] text = value.getBytes(StandardCharsets.UTF_8);
        for (int at = 0; at < text.length; at++) {
            int high = text[at] == '%' && at + 2 < text.length ? Character.digit(text[at + 1], 16) : -1;
            int low = high < 0 ? -1 : Character.digit(text[at + 2], 16);
            bytes.write(low < 0 ? text[at] : high << 4 | low);
            at += low < 0 ? 0 : 2;
        }
        return bytes.toString(StandardCharsets.UTF_8);
    }

    private static byte[] hmac(byte[] secret, byte[] message) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(secret, "HmacSHA256"));
            return mac.doFinal(message);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("every JDK has HmacSHA256", error);
        }
    }

    private static byte[] sha256(byte[] message) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(message);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("every JDK has SHA-256", error);
        }
    }
}
