package signpost.receiver;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;

/** A key server. {@code body}, {@code headers} and {@code status} are its next answers. */
final class KeyServer implements AutoCloseable {
    volatile String body = Vectors.keySet("acme");
    final Map<String, String> headers = new ConcurrentHashMap<>(Map.of("Cache-Control", "public, max-age=60"));
    volatile int status = 200;
    volatile boolean drips;
    final List<Map<String, List<String>>> requests = new CopyOnWriteArrayList<>();
    /** A request is answered when it gets a permit. */
    final Semaphore gate = new Semaphore(1_000);
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final HttpServer server;
    final String url;

    KeyServer() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(threads);
        server.createContext("/", this::answer);
        server.start();
        url = "http://127.0.0.1:" + server.getAddress().getPort() + "/tenants/acme/.well-known/jwks.json";
    }

    private void answer(HttpExchange exchange) throws IOException {
        try (exchange) {
            requests.add(Map.copyOf(exchange.getRequestHeaders()));
            gate.acquire();
            headers.forEach(exchange.getResponseHeaders()::set);
            String etag = headers.get("ETag");
            if (status == 200 && etag != null && etag.equals(exchange.getRequestHeaders().getFirst("If-None-Match"))) {
                exchange.sendResponseHeaders(304, -1);
                return;
            }
            byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, bytes.length);
            for (int at = 0; drips && at < 100; at++) {
                exchange.getResponseBody().write(bytes[at]);
                exchange.getResponseBody().flush();
                Thread.sleep(50);
            }
            if (!drips) {
                exchange.getResponseBody().write(bytes);
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt(); // The test has ended.
        }
    }

    @Override
    public void close() {
        threads.shutdownNow();
        server.stop(0);
    }
}
