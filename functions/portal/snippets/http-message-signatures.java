import java.net.URI;
import java.net.http.*;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;

class Webhooks { // Java 17 or later.
    static final Map<String, PublicKey> KEYS = new ConcurrentHashMap<>(); // A kid never gets another key.
    static final Map<String, String[]> ALGORITHMS = Map.of(
        "RS256", new String[] {"RSA", "SHA256withRSA"},
        "ES256", new String[] {"EC", "SHA256withECDSAinP1363Format"},
        "EdDSA", new String[] {"Ed25519", "Ed25519"});
    static final String[] ALGORITHM_NAMES = ALGORITHMS.get("ALGORITHM");

    static PublicKey key(String kid) throws Exception {
        var known = KEYS.get(kid);
        if (known != null) return known;
        var url = URI.create("KEYS_URL/keys/" + UUID.fromString(kid)); // Nothing else gets into a URL.
        var answer = HttpClient.newHttpClient().send(HttpRequest.newBuilder(url).build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) throw new GeneralSecurityException("not a key of this tenant");
        var der = Base64.getDecoder().decode(answer.body().replaceAll("-----[A-Z ]+-----|\\s", ""));
        var key = KeyFactory.getInstance(ALGORITHM_NAMES[0]).generatePublic(new X509EncodedKeySpec(der));
        KEYS.put(kid, key);
        return key;
    }

    static boolean fits(String kid, String signed, byte[] signature) throws Exception {
        var verifier = Signature.getInstance(ALGORITHM_NAMES[1]);
        verifier.initVerify(key(kid));
        verifier.update(signed.getBytes(StandardCharsets.UTF_8));
        return verifier.verify(signature);
    }

    static final Map<String, String> NAMES = Map.of("RS256", "rsa-v1_5-sha256", "ES256", "ecdsa-p256-sha256", "EdDSA", "ed25519");
    static final Pattern INPUT = Pattern.compile("sig=(\\(([^)]*)\\);created=(\\d+);keyid=\"([0-9a-f-]{36})\";alg=\"([^\"]*)\";tag=\"signpost\")");

    /** Whether it verifies. Take the URL from your settings, such as ENDPOINT_URL, not from what arrives behind a proxy. */
    static boolean verify(String method, String url, Map<String, String> headers, byte[] body) throws Exception {
        var input = INPUT.matcher(headers.get("signature-input"));
        if (!input.matches() || !input.group(5).equals(NAMES.get("ALGORITHM"))) return false;
        if (Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(input.group(3))) > 300) return false;
        var names = List.of(input.group(2).replace("\"", "").split(" "));
        if (!names.containsAll(List.of("@method", "@target-uri", "content-digest", "webhook-id"))) return false;
        var signed = new StringBuilder();
        for (var name : names) {
            var value = name.equals("@method") ? method : name.equals("@target-uri") ? url : headers.get(name);
            signed.append('"').append(name).append("\": ").append(value).append('\n');
        }
        signed.append("\"@signature-params\": ").append(input.group(1));
        var text = headers.get("signature");
        var signature = Base64.getDecoder().decode(text.substring("sig=:".length(), text.length() - 1));
        var digest = MessageDigest.getInstance("SHA-256").digest(body);
        return fits(input.group(4), signed.toString(), signature)
            && headers.get("content-digest").equals("sha-256=:" + Base64.getEncoder().encodeToString(digest) + ":");
    }
}
