package signpost.receiver;

import java.math.BigInteger;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.RSAPublicKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A public key of a key set. A key with an endpoint verifies {@code v1a} of this endpoint only. */
record Key(String kid, Algorithm algorithm, String endpoint, int signatureBytes, PublicKey publicKey) {
    private static final byte[] ED25519_PREFIX = HexFormat.of().parseHex("302a300506032b6570032100");

    boolean verifies(byte[] message, byte[] signature) {
        if (signature.length != signatureBytes) {
            return false;
        }
        try {
            Signature verifier = Signature.getInstance(algorithm.javaName);
            verifier.initVerify(publicKey);
            verifier.update(message);
            return verifier.verify(signature);
        } catch (GeneralSecurityException error) {
            return false; // The bytes are not a signature.
        }
    }

    /** Reads a key set (RFC 7517). Keys of other kinds than Signpost's are left out. */
    static List<Key> parseSet(byte[] text) {
        Object keys = Json.parseObject(text).map(set -> (Object) set.get("keys")).orElse(null);
        if (!(keys instanceof List<?> members)) {
            throw new IllegalArgumentException(
                    "not a key set; expected {\"keys\":[…]}, as the endpoint's `jwksUrl` answers");
        }
        return members.stream().map(Key::parse).flatMap(Optional::stream).toList();
    }

    private static Optional<Key> parse(Object member) {
        if (!(member instanceof Map<?, ?> jwk) || !(jwk.get("kid") instanceof String kid)) {
            return Optional.empty();
        }
        String endpoint = jwk.get("endpoint") instanceof String text ? text : null;
        try {
            if ("RSA".equals(jwk.get("kty"))) {
                BigInteger n = number(jwk, "n");
                if (n.bitLength() < 2048) {
                    return Optional.empty();
                }
                PublicKey key = KeyFactory.getInstance("RSA").generatePublic(new RSAPublicKeySpec(n, number(jwk, "e")));
                return Optional.of(new Key(kid, Algorithm.RS256, endpoint, (n.bitLength() + 7) / 8, key));
            } else if ("EC".equals(jwk.get("kty")) && "P-256".equals(jwk.get("crv"))) {
                AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
                curve.init(new ECGenParameterSpec("secp256r1"));
                ECPoint point = new ECPoint(number(jwk, "x"), number(jwk, "y"));
                ECPublicKeySpec spec = new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class));
                PublicKey key = KeyFactory.getInstance("EC").generatePublic(spec);
                return Optional.of(new Key(kid, Algorithm.ES256, endpoint, 64, key));
            } else if ("OKP".equals(jwk.get("kty")) && "Ed25519".equals(jwk.get("crv"))) {
                byte[] x = bytes(jwk, "x");
                byte[] spki = HexFormat.of().parseHex(
                        HexFormat.of().formatHex(ED25519_PREFIX) + HexFormat.of().formatHex(x));
                PublicKey key = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(spki));
                return Optional.of(new Key(kid, Algorithm.EDDSA, endpoint, 64, key));
            }
        } catch (GeneralSecurityException | IllegalArgumentException error) {
            return Optional.empty();
        }
        return Optional.empty();
    }

    private static BigInteger number(Map<?, ?> jwk, String name) {
        return new BigInteger(1, bytes(jwk, name));
    }

    private static byte[] bytes(Map<?, ?> jwk, String name) {
        String text = jwk.get(name) instanceof String one ? one : "";
        return Encoding.base64url(text).orElseThrow(() -> new IllegalArgumentException(name));
    }
}
