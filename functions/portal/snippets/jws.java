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

    static final Pattern HEADER = Pattern.compile("\\{\"alg\":\"ALGORITHM\",\"kid\":\"([0-9a-f-]{36})\",\"typ\":\"JWT\"\\}");

    /** Whether it verifies. `headers` has names in lower case, `body` the bytes that arrived. */
    static boolean verify(Map<String, String> headers, byte[] body) throws Exception {
        var parts = headers.get("jws-signature").split("\\.", -1);
        if (parts.length != 3) return false;
        var header = HEADER.matcher(new String(Base64.getUrlDecoder().decode(parts[0]), StandardCharsets.UTF_8));
        if (!header.matches()) return false; // Another algorithm, too.
        var payload = Base64.getUrlEncoder().withoutPadding().encodeToString(body);
        return fits(header.group(1), parts[0] + "." + payload, Base64.getUrlDecoder().decode(parts[2]));
    }
}
