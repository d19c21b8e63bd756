package signpost.receiver;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tries the key cache against a real HTTP server. */
@Timeout(30)
class KeySetTest {
    private final AtomicLong now = new AtomicLong();
    private KeyServer server;

    @BeforeEach
    void start() throws IOException {
        server = new KeyServer();
    }

    @AfterEach
    void stop() {
        server.close();
    }

    private KeySet keySet() {
        return keySet(Duration.ofSeconds(10));
    }

    private KeySet keySet(Duration timeout) {
        KeySet.Options usual = KeySet.Options.DEFAULT;
        return new KeySet(server.url, new KeySet.Options(timeout, usual.cooldown(), usual.stale(), now::get));
    }

    private void forward(long seconds) {
        now.addAndGet(TimeUnit.SECONDS.toNanos(seconds));
    }

    private static Event verify(KeySet keys) throws ReceiverException {
        Vectors.Vector vector = Vectors.of("JWS RS256");
        return vector.verify(vector.settings().keys(keys).build());
    }

    private static String step(KeySet keys) {
        return assertThrows(ReceiverException.class, () -> verify(keys)).step();
    }

    @Test
    void keys_are_kept_for_max_age() throws ReceiverException {
        KeySet keys = keySet();
        for (int count = 0; count < 3; count++) {
            verify(keys);
        }
        forward(59);
        verify(keys);
        assertEquals(1, server.requests.size());
        forward(2);
        verify(keys);
        assertEquals(2, server.requests.size());
    }

    @Test
    void an_answer_is_kept_for_the_time_that_its_headers_say() throws ReceiverException {
        List<Map.Entry<Map<String, String>, Integer>> rows = List.of(
                Map.entry(Map.of(), 300),
                Map.entry(Map.of("Cache-Control", "max-age=60", "Age", "20"), 40),
                Map.entry(Map.of("Cache-Control", "MAX-AGE=\"60\", public"), 60),
                Map.entry(Map.of("Cache-Control", "max-age=9999999"), 24 * 3600),
                Map.entry(Map.of("Cache-Control", "s-maxage=9, max-age=60"), 60));
        for (Map.Entry<Map<String, String>, Integer> row : rows) {
            server.headers.clear();
            server.headers.putAll(row.getKey());
            server.requests.clear();
            KeySet keys = keySet();
            verify(keys);
            forward(row.getValue() - 1);
            verify(keys);
            assertEquals(1, server.requests.size(), row.toString());
            forward(1);
            verify(keys);
            assertEquals(2, server.requests.size(), row.toString());
        }
    }

    @Test
    void an_expired_copy_is_compared_by_its_etag() throws ReceiverException {
        server.headers.put("ETag", "\"1\"");
        KeySet keys = keySet();
        verify(keys);
        forward(61);
        verify(keys);
        assertEquals(List.of("\"1\""), server.requests.get(1).get("If-none-match"));
        forward(59);
        verify(keys);
        assertEquals(2, server.requests.size());
    }

    @Test
    void an_unknown_kid_fetches_again_once_and_not_more_often_than_the_cooldown() throws ReceiverException {
        server.body = "{\"keys\":[]}";
        KeySet keys = keySet();
        for (int count = 0; count < 5; count++) {
            assertEquals("kid-unknown", step(keys));
        }
        assertEquals(1, server.requests.size());
        server.body = Vectors.keySet("acme");
        forward(2);
        verify(keys);
        assertEquals(2, server.requests.size());
    }

    @Test
    void a_new_key_of_v1a_is_found_in_the_same_way() throws ReceiverException {
        server.body = "{\"keys\":[]}";
        Vectors.Vector vector = Vectors.of("Standard Webhooks v1a");
        Receiver receiver = vector.settings().keys(keySet()).build();
        assertEquals("signature", assertThrows(VerificationException.class, () -> vector.verify(receiver)).step());
        server.body = Vectors.keySet("acme");
        forward(2);
        vector.verify(receiver);
    }

    @Test
    void threads_share_one_fetch() throws Exception {
        server.gate.drainPermits();
        KeySet keys = keySet();
        ExecutorService threads = Executors.newFixedThreadPool(16);
        try {
            List<Future<Event>> events = new ArrayList<>();
            for (int count = 0; count < 16; count++) {
                events.add(threads.submit(() -> verify(keys)));
            }
            while (server.requests.isEmpty()) {
                Thread.onSpinWait();
            }
            server.gate.release();
            for (Future<Event> event : events) {
                event.get(10, TimeUnit.SECONDS);
            }
        } finally {
            threads.shutdownNow();
        }
        assertEquals(1, server.requests.size());
    }

    @Test
    void a_thread_that_is_interrupted_spoils_nothing_for_the_others() throws Exception {
        server.gate.drainPermits();
        KeySet keys = keySet();
        FutureTask<String> first = new FutureTask<>(() -> step(keys) + Thread.currentThread().isInterrupted());
        Thread thread = new Thread(first);
        thread.start();
        while (server.requests.isEmpty()) {
            Thread.onSpinWait();
        }
        thread.interrupt();
        assertEquals("keys-unavailabletrue", first.get(10, TimeUnit.SECONDS));
        server.gate.release(2);
        verify(keys);
        assertEquals(2, server.requests.size());
    }

    @Test
    void a_server_that_is_down_makes_the_keys_unavailable_and_is_not_flooded() {
        server.status = 500;
        KeySet keys = keySet();
        for (int count = 0; count < 5; count++) {
            ReceiverException error = assertThrows(KeysUnavailableException.class, () -> verify(keys));
            assertEquals(503, error.status());
        }
        assertEquals(1, server.requests.size());
    }

    @Test
    void a_known_copy_serves_for_an_hour_while_the_server_is_down() throws ReceiverException {
        KeySet keys = keySet();
        verify(keys);
        server.status = 503;
        forward(61);
        verify(keys);
        assertEquals(2, server.requests.size());
        forward(3_600);
        assertEquals("keys-unavailable", step(keys));
    }

    @Test
    void a_refused_connection_makes_the_keys_unavailable() {
        KeySet keys = keySet();
        server.close();
        ReceiverException error = assertThrows(KeysUnavailableException.class, () -> verify(keys));
        assertTrue(error.getMessage().contains(server.url), error.getMessage());
    }

    @Test
    void a_silent_or_dripping_server_takes_no_longer_than_the_timeout() {
        server.drips = true;
        long begin = System.nanoTime();
        assertEquals("keys-unavailable", step(keySet(Duration.ofMillis(400))));
        server.gate.drainPermits();
        assertEquals("keys-unavailable", step(keySet(Duration.ofMillis(400))));
        assertTrue(System.nanoTime() - begin < Duration.ofSeconds(4).toNanos());
    }

    @Test
    void redirects_and_other_answers_are_not_keys() {
        String keys = server.body;
        server.headers.put("Location", server.url);
        List<Map.Entry<Integer, String>> rows = List.of(
                Map.entry(302, keys), Map.entry(404, keys), Map.entry(200, "[]"), Map.entry(200, "{\"keys\":\"none\"}"),
                Map.entry(200, "text"), Map.entry(200, "{\"keys\":[]" + " ".repeat(4 << 20) + "}"));
        for (Map.Entry<Integer, String> row : rows) {
            server.status = row.getKey();
            server.body = row.getValue();
            server.requests.clear();
            assertEquals("keys-unavailable", step(keySet()));
            assertEquals(1, server.requests.size());
        }
    }

    @Test
    void keys_of_other_kinds_are_left_out() throws ReceiverException {
        String others = "{\"keys\":[1,{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"AAAA\"},"
                + "{\"kty\":\"RSA\",\"kid\":\"c\",\"n\":\"AQAB\",\"e\":\"AQAB\"},"
                + "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"d\",\"x\":\"AAAA\"},";
        server.body = server.body.replace("{\"keys\":[", others);
        verify(keySet());
    }
}
