// Receives webhooks with the HTTP server of the JDK: `java -cp signpost-receiver.jar WebhookServer.java`.

package webhooks;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.Executors;
import signpost.receiver.Event;
import signpost.receiver.Receiver;
import signpost.receiver.ReceiverException;

public class WebhookServer {
    public static void main(String[] arguments) throws IOException {
        Map<String, String> settings = System.getenv();
        Receiver.Builder receiver = Receiver.builder()
                .keysUrl(settings.get("JWKS_URL")) // The endpoint's `jwksUrl`.
                .url(settings.get("ENDPOINT_URL"))
                .endpoint(settings.get("ENDPOINT"));
        if (settings.containsKey("SECRET")) {
            receiver.secret(settings.get("SECRET"));
        }
        HttpServer server = start(receiver.build(), Integer.parseInt(settings.getOrDefault("PORT", "3000")));
        System.out.println("http://127.0.0.1:" + server.getAddress().getPort() + "/in");
    }

    public static HttpServer start(Receiver receiver, int port) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newFixedThreadPool(16)); // Threads, because a verification may fetch keys.
        server.createContext("/in", exchange -> webhook(receiver, exchange));
        server.start();
        return server;
    }

    private static void webhook(Receiver receiver, HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = exchange.getRequestBody().readAllBytes(); // The bytes as they arrived.
            try {
                Event event = receiver.verify(
                        exchange.getRequestHeaders(), body, exchange.getRequestURI().toString(), exchange.getRequestMethod());
                if (!event.isRepeated()) {
                    // Your work, in one transaction with the id.
                    System.out.println("event " + event.id() + " of type " + event.type());
                }
                exchange.sendResponseHeaders(204, -1);
            } catch (ReceiverException error) {
                System.err.println(error.getMessage());
                byte[] answer = ("{\"refused\":\"" + error.step() + "\"}").getBytes(StandardCharsets.UTF_8);
                exchange.getResponseHeaders().set("content-type", "application/json");
                exchange.sendResponseHeaders(error.status(), answer.length);
                exchange.getResponseBody().write(answer);
            }
        }
    }
}
