package signpost.receiver;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The vectors of docs/vectors.json. */
final class Vectors {
    private static final String TEXT = read();
    static final Map<?, ?> FILE = Json.parseObject(TEXT.getBytes(StandardCharsets.UTF_8)).orElseThrow();

    private Vectors() {}

    private static String read() {
        try {
            return Files.readString(Path.of(System.getProperty("vectors", "../../../docs/vectors.json")));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static List<Vector> all() {
        return ((List<?>) FILE.get("vectors")).stream().map(one -> new Vector((Map<?, ?>) one)).toList();
    }

    static Vector of(String name) {
        return all().stream().filter(one -> one.name().equals(name)).findFirst().orElseThrow();
    }

    /** Writes a key set as a server would. */
    static String keySet(String name) {
        return write(((Map<?, ?>) FILE.get("keySets")).get(name));
    }

    static String write(Object value) {
        if (value instanceof Map<?, ?> members) {
            List<String> parts = new ArrayList<>();
            members.forEach((name, one) -> parts.add("\"" + name + "\":" + write(one)));
            return "{" + String.join(",", parts) + "}";
        } else if (value instanceof List<?> items) {
            return "[" + String.join(",", items.stream().map(Vectors::write).toList()) + "]";
        }
        return "\"" + value + "\""; // Key sets have no other values than text.
    }

    record Vector(Map<?, ?> members) {
        String name() {
            return (String) members.get("name");
        }

        Map<?, ?> expected() {
            return (Map<?, ?>) members.get("expected");
        }

        Map<?, ?> request() {
            return (Map<?, ?>) members.get("request");
        }

        String url() {
            return (String) request().get("url");
        }

        String method() {
            return (String) request().get("method");
        }

        byte[] body() {
            return Base64.getDecoder().decode((String) request().get("body"));
        }

        Map<String, List<String>> headers() {
            Map<String, List<String>> headers = new LinkedHashMap<>();
            for (Object pair : (List<?>) request().get("headers")) {
                List<?> parts = (List<?>) pair;
                headers.computeIfAbsent((String) parts.get(0), name -> new ArrayList<>()).add((String) parts.get(1));
            }
            return headers;
        }

        /** Makes a receiver with the vector's settings and clock, but without keys. */
        Receiver.Builder settings() {
            Map<?, ?> receiver = (Map<?, ?>) members.get("receiver");
            Receiver.Builder builder = Receiver.builder().endpoint((String) receiver.get("endpoint"))
                    .url((String) receiver.get("url"))
                    .tolerance(Duration.ofSeconds(Long.parseLong((String) FILE.get("toleranceSeconds"))))
                    .clock(Clock.fixed(
                            Instant.ofEpochSecond(Long.parseLong((String) members.get("now"))), ZoneOffset.UTC));
            if (receiver.get("secrets") instanceof List<?> secrets) {
                secrets.forEach(secret -> builder.secret((String) secret));
            }
            if (receiver.get("algorithm") instanceof String algorithm) {
                builder.algorithm(Algorithm.of(algorithm));
            }
            return builder;
        }

        Receiver.Builder settingsWithKeys() {
            Object name = ((Map<?, ?>) members.get("receiver")).get("keySet");
            return name == null ? settings()
                    : settings().keys(KeySet.fixed(keySet((String) name).getBytes(StandardCharsets.UTF_8)));
        }

        Event verify(Receiver receiver) throws ReceiverException {
            return receiver.verify(headers(), body(), url(), method());
        }
    }
}
