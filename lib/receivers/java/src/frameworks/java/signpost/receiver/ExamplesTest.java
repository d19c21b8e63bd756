package signpost.receiver;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import javax.servlet.DispatcherType;
import javax.servlet.Filter;
import javax.servlet.FilterChain;
import javax.servlet.FilterConfig;
import javax.servlet.ReadListener;
import javax.servlet.ServletException;
import javax.servlet.ServletInputStream;
import javax.servlet.ServletRequest;
import javax.servlet.ServletResponse;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletRequestWrapper;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.servlet.FilterHolder;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.web.context.support.StaticWebApplicationContext;
import org.springframework.web.servlet.DispatcherServlet;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerAdapter;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerMapping;
import webhooks.WebhookController;
import webhooks.WebhookServer;

/** Tries the examples over HTTP: with the body as it arrived, and with filters that read the body before them. */
@Timeout(60)
class ExamplesTest {
    private static final List<String> NAMES = List.of("JWS RS256", "JWS, PUT", "JWS, GET",
            "JWS, GET with a query of the endpoint", "Standard Webhooks", "Standard Webhooks, GET",
            "HTTP message signature ES256", "HTTP message signature, PUT", "HTTP message signature, GET",
            "HTTP message signature, GET with a query of the endpoint", "all formats");
    private final HttpClient client = HttpClient.newHttpClient();
    private KeyServer keys;

    @BeforeEach
    void start() throws IOException {
        keys = new KeyServer();
    }

    @AfterEach
    void stop() {
        keys.close();
    }

    /** Sends a vector's request, and returns the status and the body of the answer. */
    private String post(int port, Vectors.Vector vector) throws IOException, InterruptedException {
        int at = vector.url().indexOf('?');
        URI url = URI.create("http://127.0.0.1:" + port + "/in" + (at < 0 ? "" : vector.url().substring(at)));
        HttpRequest.Builder request = HttpRequest.newBuilder(url).timeout(Duration.ofSeconds(20));
        vector.headers().forEach((name, values) -> {
            if (!name.equals("host")) {
                values.forEach(value -> request.header(name, value));
            }
        });
        boolean isGet = vector.method().equals("GET");
        request.method(vector.method(), isGet ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(vector.body()));
        HttpResponse<String> answer = client.send(request.build(), BodyHandlers.ofString());
        return answer.statusCode() + answer.body();
    }

    private Receiver receiverOf(Vectors.Vector vector) {
        return vector.settings().keysUrl(keys.url).build();
    }

    private String onJdk(Vectors.Vector vector) throws Exception {
        HttpServer server = WebhookServer.start(receiverOf(vector), 0);
        try {
            return post(server.getAddress().getPort(), vector);
        } finally {
            server.stop(0);
        }
    }

    private String onSpring(Vectors.Vector vector, Filter... filters) throws Exception {
        StaticWebApplicationContext context = new StaticWebApplicationContext();
        context.getBeanFactory().registerSingleton("webhooks", new WebhookController(receiverOf(vector)));
        context.registerSingleton("mapping", RequestMappingHandlerMapping.class);
        context.registerSingleton("adapter", RequestMappingHandlerAdapter.class);
        ServletContextHandler handler = new ServletContextHandler();
        handler.addServlet(new ServletHolder(new DispatcherServlet(context)), "/*");
        for (Filter filter : filters) {
            handler.addFilter(new FilterHolder(filter), "/*", EnumSet.of(DispatcherType.REQUEST));
        }
        Server server = new Server(0);
        server.setHandler(handler);
        server.start();
        try {
            return post(((ServerConnector) server.getConnectors()[0]).getLocalPort(), vector);
        } finally {
            server.stop();
        }
    }

    @Test
    void the_server_of_the_jdk_accepts_each_format_and_method() throws Exception {
        for (String name : NAMES) {
            assertEquals("204", onJdk(Vectors.of(name)), name);
        }
    }

    @Test
    void spring_accepts_each_format_and_method() throws Exception {
        for (String name : NAMES) {
            assertEquals("204", onSpring(Vectors.of(name)), name);
        }
    }

    @Test
    void keys_that_are_not_available_are_a_503() throws Exception {
        keys.status = 500;
        assertEquals("503{\"refused\":\"keys-unavailable\"}", onJdk(Vectors.of("JWS RS256")));
        assertEquals("503{\"refused\":\"keys-unavailable\"}", onSpring(Vectors.of("JWS RS256")));
    }

    @Test
    void a_filter_that_reads_the_body_is_refused_with_the_reason() throws Exception {
        Filter logs = new BodyFilter() {
            @Override
            ServletRequest read(HttpServletRequest request) throws IOException {
                request.getInputStream().readAllBytes();
                return request;
            }
        };
        assertEquals("401{\"refused\":\"body-missing\"}", onSpring(Vectors.of("JWS RS256"), logs));
    }

    @Test
    void a_filter_that_encodes_the_body_again_is_refused_with_the_reason() throws Exception {
        Filter again = new BodyFilter() {
            @Override
            ServletRequest read(HttpServletRequest request) throws IOException {
                String body = new String(request.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
                return withBody(request, body.replace("\\u0020", " ")); // As an ObjectMapper does.
            }
        };
        assertEquals("401{\"refused\":\"body-reencoded\"}", onSpring(Vectors.of("JWS RS256"), again));
    }

    /** A filter that reads the body before the controller. */
    private abstract static class BodyFilter implements Filter {
        abstract ServletRequest read(HttpServletRequest request) throws IOException;

        @Override
        public void init(FilterConfig config) {}

        @Override
        public void doFilter(ServletRequest request, ServletResponse answer, FilterChain chain)
                throws IOException, ServletException {
            chain.doFilter(read((HttpServletRequest) request), answer);
        }

        @Override
        public void destroy() {}
    }

    private static HttpServletRequest withBody(HttpServletRequest request, String body) {
        ByteArrayInputStream bytes = new ByteArrayInputStream(body.getBytes(StandardCharsets.UTF_8));
        ServletInputStream stream = new ServletInputStream() {
            @Override
            public int read() {
                return bytes.read();
            }

            @Override
            public boolean isFinished() {
                return bytes.available() == 0;
            }

            @Override
            public boolean isReady() {
                return true;
            }

            @Override
            public void setReadListener(ReadListener listener) {
                throw new UnsupportedOperationException();
            }
        };
        return new HttpServletRequestWrapper(request) {
            @Override
            public ServletInputStream getInputStream() {
                return stream;
            }
        };
    }
}
