package signpost.receiver;

import java.util.Arrays;
import java.util.Optional;
import java.util.function.Function;

/** An algorithm ({@code jwsAlgorithm} of an endpoint). */
public enum Algorithm {
    /** RSASSA-PKCS1-v1_5 with SHA-256. */
    RS256("RS256", "rsa-v1_5-sha256", "SHA256withRSA"),
    /** ECDSA over P-256 with SHA-256. */
    ES256("ES256", "ecdsa-p256-sha256", "SHA256withECDSAinP1363Format"),
    /** Ed25519. */
    EDDSA("EdDSA", "ed25519", "Ed25519");

    final String jwsName;
    final String httpName;
    final String javaName;

    Algorithm(String jwsName, String httpName, String javaName) {
        this.jwsName = jwsName;
        this.httpName = httpName;
        this.javaName = javaName;
    }

    /** Returns the algorithm with a name of JWS, such as {@code EdDSA}. */
    public static Algorithm of(String jwsName) {
        return find(one -> one.jwsName, jwsName).orElseThrow(() -> new IllegalArgumentException(
                "the algorithm is `" + jwsName + "`; expected RS256, ES256 or EdDSA"));
    }

    static Optional<Algorithm> find(Function<Algorithm, String> name, String wanted) {
        return Arrays.stream(values()).filter(one -> name.apply(one).equals(wanted)).findFirst();
    }

    @Override
    public String toString() {
        return jwsName;
    }
}
