package signpost.receiver;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/** A request as it arrived. */
final class Request {
    static final String UNCHANGED = "pass the header on unchanged";
    static final String REFUSE = "refuse the request: Signpost never signs like that";
    static final String ALL_HEADERS = "pass all headers to `verify`; look for a proxy that removes them";
    static final String BEFORE_PARSER = "verify the bytes as they arrived, before any JSON parser"
            + " (in Spring: take `RequestEntity<byte[]>`, and no filter that reads the body)";
    private static final String RAW = "verify before another program reads the body; read the raw bytes once, and keep them"
            + " (in Spring: no filter that reads the body or its parameters)";

    final Map<String, String> headers = new TreeMap<>();
    final byte[] body;
    final String method;
    final byte[] payload;
    private final String ownUrl;
    private final String called;

    Request(Map<String, ? extends Collection<String>> headers, byte[] body, String method, String ownUrl, String called)
            throws VerificationException {
        // Several lines of a field are one (RFC 9110, section 5.3).
        headers.forEach((name, values) -> {
            if (name != null) { // HttpURLConnection has the status line under no name.
                values.forEach(value -> this.headers.merge(
                        name.toLowerCase(Locale.ROOT), value.strip(), (before, after) -> before + ", " + after));
            }
        });
        this.body = body;
        this.method = method.toUpperCase(Locale.ROOT);
        this.ownUrl = ownUrl;
        this.called = called;
        payload = this.method.equals("GET") ? queryOfGet().getBytes(StandardCharsets.UTF_8) : body;
    }

    Optional<String> header(String name) {
        return Optional.ofNullable(headers.get(name));
    }

    String needed(String name) throws VerificationException {
        return header(name).filter(value -> !value.isEmpty()).orElseThrow(() -> new VerificationException(
                "header-missing", "`" + name + "` is missing; the signature needs it", ALL_HEADERS));
    }

    /** Returns the query without that of the endpoint's own URL, which Signpost does not sign. */
    private String queryOfGet() throws VerificationException {
        if (called == null) {
            throw new VerificationException("url",
                    "the method is GET, and `verify` got no `url`; expected the URL with its query as it arrived",
                    "pass the URL that was called to `verify`");
        }
        String query = query(called);
        String own = ownUrl == null ? "" : query(ownUrl);
        if (own.isEmpty() || !(query.equals(own) || query.startsWith(own + "&"))) {
            return query;
        }
        return query.substring(Math.min(query.length(), own.length() + 1));
    }

    /** Lists URLs that the sender may have called: first the one that counts, then those that explain a mistake. */
    List<String> urls() {
        List<String> urls = new ArrayList<>();
        if (ownUrl != null) {
            urls.add(method.equals("GET") ? beforeQuery(ownUrl) + "?" + query(called) : ownUrl);
        }
        if (called != null && called.matches("(?s)https?://.*")) {
            urls.add(called);
        }
        for (String url : List.copyOf(urls)) {
            urls.add(url.startsWith("https:") ? "http:" + url.substring(6) : "https:" + url.substring(5));
        }
        return urls;
    }

    /** Explains a signature that does not fit the payload. */
    VerificationException mismatch(String covers) {
        if (!method.equals("GET")) {
            if (body.length == 0) {
                return new VerificationException("body-missing", "the body is empty; expected the bytes that arrived", RAW);
            }
            Optional<Long> length = Encoding.number(headers.get("content-length"), 9);
            boolean isShort = length.isPresent() && body.length < length.get();
            // Nothing that was cut is still valid JSON: a short body that is valid was encoded again.
            if ((isShort || hasWhitespace()) && Json.parse(body).isPresent()) {
                return new VerificationException("body-reencoded",
                        "the body has whitespace, or not the length that arrived: it was parsed and encoded again",
                        BEFORE_PARSER);
            }
            if (isShort) {
                return new VerificationException("body-cut",
                        "`content-length` is " + length.get() + ", and the body has " + body.length + " bytes",
                        "read the body to its end; look for a limit on bodies");
            }
        }
        return new VerificationException("signature",
                "the signature does not fit; it covers " + covers + ", and at least one of these changed",
                "compare each with what arrived; " + BEFORE_PARSER);
    }

    private boolean hasWhitespace() {
        for (byte one : body) {
            if (" \t\r\n".indexOf(one) >= 0) {
                return true;
            }
        }
        return false;
    }

    private static String beforeQuery(String url) {
        return url.split("\\?", 2)[0];
    }

    private static String query(String url) {
        int at = url.indexOf('?');
        return at < 0 ? "" : url.substring(at + 1);
    }
}
