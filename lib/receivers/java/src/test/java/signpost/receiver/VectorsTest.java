package signpost.receiver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Runs all of docs/vectors.json. */
class VectorsTest {
    @Test
    void each_vector_is_accepted_or_refused_at_its_step() {
        assertTrue(Vectors.all().size() > 100);
        List<String> wrong = new ArrayList<>();
        for (Vectors.Vector vector : Vectors.all()) {
            String found;
            try {
                found = vector.expected().get("event") instanceof Map<?, ?> expected
                        ? difference(vector.verify(vector.settingsWithKeys().build()), expected)
                        : "accepted: " + vector.verify(vector.settingsWithKeys().build());
            } catch (ReceiverException error) {
                boolean isRight = vector.expected().get("steps") instanceof List<?> steps && steps.contains(error.step());
                found = isRight ? "" : error.getMessage();
            }
            if (!found.isEmpty()) {
                wrong.add(vector.name() + ": " + found + "; expected " + vector.expected());
            }
        }
        assertEquals(List.of(), wrong);
    }

    private static String difference(Event found, Map<?, ?> expected) {
        List<?> members = Arrays.asList(found.id(), found.source(), found.type(), text(found.attempt()), found.replay());
        List<?> wanted = Arrays.asList(text(expected.get("id")), text(expected.get("source")), text(expected.get("type")),
                text(expected.get("attempt")), text(expected.get("replay")));
        boolean isRight = members.equals(wanted)
                && found.signed().equals(new HashSet<Object>((List<?>) expected.get("signed")));
        return isRight ? "" : found.toString();
    }

    private static String text(Object value) {
        return value == null || value == Json.NULL ? null : value.toString();
    }

    @Test
    void a_body_that_was_encoded_again_is_refused_with_the_reason() {
        Vectors.Vector vector = Vectors.of("JWS RS256");
        byte[] body = new String(vector.body(), StandardCharsets.UTF_8).replace("\":", "\": ").getBytes(StandardCharsets.UTF_8);
        VerificationException error = assertThrows(VerificationException.class,
                () -> vector.settingsWithKeys().build().verify(vector.headers(), body));
        assertEquals("body-reencoded", error.step());
        assertEquals(401, error.status());
        assertTrue(error.next().contains("RequestEntity<byte[]>"), error.getMessage());
    }

    @Test
    void each_changed_byte_of_a_body_is_refused() {
        for (Vectors.Vector vector : Vectors.all()) {
            if (!Boolean.TRUE.equals(vector.expected().get("accepted")) || vector.method().equals("GET")) {
                continue;
            }
            Receiver receiver = vector.settingsWithKeys().build();
            for (int at = 0; at < vector.body().length; at += 7) {
                byte[] body = vector.body();
                body[at] ^= 1;
                assertThrows(VerificationException.class,
                        () -> receiver.verify(vector.headers(), body, vector.url(), vector.method()), vector.name());
            }
        }
    }

    private record Call(byte[] body, String url, String method) {}

    @Test
    void hostile_requests_are_accepted_or_refused_and_throw_nothing_else() throws ReceiverException {
        int count = 0;
        for (String attacked : List.of("JWS EdDSA", "JWS, structured", "Standard Webhooks", "HTTP message signature EdDSA",
                "all formats")) {
            Vectors.Vector vector = Vectors.of(attacked);
            Receiver receiver = vector.settingsWithKeys().build();
            byte[] deep = "[".repeat(100_000).getBytes(StandardCharsets.UTF_8);
            for (String name : vector.headers().keySet()) {
                for (String hostile : hostileValues(vector.headers().get(name).get(0))) {
                    Map<String, List<String>> headers = vector.headers();
                    headers.put(name, List.of(hostile));
                    for (Call call : List.of(new Call(vector.body(), vector.url(), vector.method()),
                            new Call(deep, vector.url(), "POST"), new Call(null, vector.url() + "?" + hostile, "GET"))) {
                        count++;
                        try {
                            receiver.verify(headers, call.body, call.url, call.method);
                        } catch (VerificationException error) {
                            assertEquals(401, error.status());
                        }
                    }
                }
            }
        }
        assertTrue(count > 1_000);
    }

    private static List<String> hostileValues(String value) {
        return List.of("", ",", "=", "\"", "((", "))", ":", "::", ".", "..", "\udcff", "\0é", "٣", "9".repeat(15), "9".repeat(400),
                "e30..", "bnVsbA..", "W10..", "eyJhbGciOltdfQ..A", "sig=();tag=\"signpost\"",
                "sig=(\"@method\";x);tag=\"signpost\"", value.substring(0, value.length() / 2), value + ", " + value,
                new StringBuilder(value).reverse().toString(), "A".repeat(5_000));
    }

    @Test
    void the_hook_marks_repetitions() throws ReceiverException {
        Vectors.Vector vector = Vectors.of("Standard Webhooks v1");
        String known = (String) ((Map<?, ?>) vector.expected().get("event")).get("id");
        assertTrue(vector.verify(vector.settingsWithKeys().seen(known::equals).build()).isRepeated());
        assertFalse(vector.verify(vector.settingsWithKeys().seen(id -> false).build()).isRepeated());
    }

    @Test
    void only_accepted_formats_count() {
        Vectors.Vector vector = Vectors.of("JWS RS256");
        Receiver receiver = vector.settingsWithKeys().formats(Format.HTTP_MESSAGE_SIGNATURES).build();
        assertEquals("no-signature", assertThrows(VerificationException.class, () -> vector.verify(receiver)).step());
    }

    @Test
    void settings_that_verify_nothing_are_refused() {
        assertThrows(IllegalArgumentException.class, () -> Receiver.builder().build());
        assertThrows(IllegalArgumentException.class, () -> Receiver.builder().secret("whsec_x"));
        assertThrows(IllegalArgumentException.class, () -> Receiver.builder().keysUrl("http://a.example/k"));
        assertThrows(IllegalArgumentException.class, () -> Algorithm.of("HS256"));
        assertThrows(IllegalArgumentException.class,
                () -> Vectors.of("JWS RS256").settingsWithKeys().formats().build());
    }
}
