package signpost.receiver;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscribers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongSupplier;

/**
 * The keys below a tenant's {@code jwksUrl}, kept for the time in their {@code Cache-Control}. All threads share one copy,
 * and only one of them fetches at a time.
 */
public final class KeySet {
    private static final int MOST_BYTES = 4 << 20; // 1,000 endpoints with two keys each need less than 1 MiB.
    private static final long LONGEST_SECONDS = 24 * 3600;
    private static final long DEFAULT_SECONDS = 300;
    private static final Set<String> LOOPBACK = Set.of("localhost", "127.0.0.1", "[::1]");

    private final URI url;
    private final Options options;
    private final HttpClient client;
    private final ReentrantLock lock = new ReentrantLock();
    private volatile Copy copy;
    private Long lastFetch;
    private Exception lastError;

    /** Keys with the time until which they count. Each fetch makes a new one. */
    static final class Copy {
        final List<Key> keys;
        private final String etag;
        private final long expires;

        Copy(List<Key> keys, String etag, long expires) {
            this.keys = keys;
            this.etag = etag;
            this.expires = expires;
        }
    }

    /**
     * Settings of a key set.
     *
     * @param timeout how long a fetch may take in total
     * @param cooldown the shortest time between two fetches; forged requests cannot cause more
     * @param stale how long after its expiry a copy serves while the server does not answer
     * @param nanoTime a clock that never goes back
     */
    public record Options(Duration timeout, Duration cooldown, Duration stale, LongSupplier nanoTime) {
        /** Three seconds, two seconds, one hour. */
        public static final Options DEFAULT =
                new Options(Duration.ofSeconds(3), Duration.ofSeconds(2), Duration.ofHours(1), System::nanoTime);
    }

    /** Makes a key set that is fetched from a URL. Fetches nothing yet. */
    public KeySet(String url) {
        this(url, Options.DEFAULT);
    }

    /** Makes a key set that is fetched from a URL. Fetches nothing yet. */
    public KeySet(String url, Options options) {
        this.url = URI.create(url);
        this.options = options;
        boolean isLocal = "http".equals(this.url.getScheme()) && LOOPBACK.contains(String.valueOf(this.url.getHost()));
        if (!"https".equals(this.url.getScheme()) && !isLocal) {
            throw new IllegalArgumentException(
                    "the key URL is `" + url + "`; expected https, because the keys decide what is genuine");
        }
        // No redirects: the URL of the keys is fixed.
        client = HttpClient.newBuilder().connectTimeout(options.timeout()).followRedirects(HttpClient.Redirect.NEVER).build();
    }

    private KeySet(Copy copy) {
        this.url = null;
        this.options = Options.DEFAULT;
        this.client = null;
        this.copy = copy;
    }

    /** Makes a key set that never changes, for tests. */
    public static KeySet fixed(byte[] text) {
        return new KeySet(new Copy(Key.parseSet(text), null, 0));
    }

    /** Returns the keys, fetched if the copy has expired. */
    Copy keys() throws KeysUnavailableException {
        Copy present = copy;
        boolean isFresh = present != null && (client == null || now() - present.expires < 0);
        return isFresh ? present : refresh(present);
    }

    /** Returns the keys, newer than {@code known} if the last fetch is at least the cooldown ago. */
    Copy keysAfter(Copy known) throws KeysUnavailableException {
        Copy present = copy;
        return client == null || (present != null && present != known) ? present : refresh(present);
    }

    private long now() {
        return options.nanoTime().getAsLong();
    }

    private Copy refresh(Copy seen) throws KeysUnavailableException {
        lock.lock();
        try {
            Copy present = copy;
            if (present != null && present != seen) {
                return present; // Another thread has fetched meanwhile.
            }
            if (lastFetch == null || now() - lastFetch >= options.cooldown().toNanos()) {
                try {
                    present = copy = fetch(present);
                    lastError = null;
                } catch (IOException | TimeoutException | IllegalArgumentException error) {
                    lastError = error;
                }
                lastFetch = now();
            }
            boolean isTooOld = present == null
                    || (lastError != null && now() - present.expires > options.stale().toNanos());
            if (isTooOld) {
                throw new KeysUnavailableException(url.toString(), lastError);
            }
            return present;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new KeysUnavailableException(url.toString(), error);
        } finally {
            lock.unlock();
        }
    }

    private Copy fetch(Copy old) throws IOException, TimeoutException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(url).header("Accept", "application/json")
                .header("User-Agent", "signpost-receiver-java/" + Version.VERSION);
        if (old != null && old.etag != null) {
            request.header("If-None-Match", old.etag);
        }
        HttpResponse<byte[]> answer = await(client.sendAsync(request.build(),
                info -> info.statusCode() == 200 ? new Limited() : BodySubscribers.replacing(new byte[0])));
        long expires = now() + TimeUnit.SECONDS.toNanos(seconds(answer.headers()));
        if (answer.statusCode() == 304 && old != null) {
            return new Copy(old.keys, old.etag, expires);
        }
        if (answer.statusCode() != 200) {
            throw new IOException("the answer's status is " + answer.statusCode() + "; expected 200");
        }
        return new Copy(Key.parseSet(answer.body()), answer.headers().firstValue("ETag").orElse(null), expires);
    }

    /** Waits for the whole answer. The time-out of a request ends with its headers. */
    private <T> T await(CompletableFuture<T> answer) throws IOException, TimeoutException, InterruptedException {
        try {
            return answer.get(options.timeout().toNanos(), TimeUnit.NANOSECONDS);
        } catch (ExecutionException error) {
            throw new IOException("no whole answer", error.getCause());
        } finally {
            answer.cancel(true);
        }
    }

    private static long seconds(HttpHeaders headers) {
        String text = String.join(",", headers.allValues("Cache-Control")).toLowerCase(Locale.ROOT);
        List<String[]> directives = Arrays.stream(text.split(",")).map(one -> one.trim().split("\\s*=\\s*", 2)).toList();
        if (directives.stream().anyMatch(one -> one[0].equals("no-store") || one[0].equals("no-cache"))) {
            return 0;
        }
        Optional<Long> age = Encoding.number(headers.firstValue("Age").orElse(""), 9);
        return directives.stream().filter(one -> one[0].equals("max-age") && one.length == 2).findFirst()
                .flatMap(one -> Encoding.number(one[1].replace("\"", ""), 9))
                .map(most -> Math.max(0, Math.min(most, LONGEST_SECONDS) - age.orElse(0L)))
                .orElse(DEFAULT_SECONDS);
    }

    /** Reads a body up to its limit. */
    private static final class Limited implements HttpResponse.BodySubscriber<byte[]> {
        private final CompletableFuture<byte[]> body = new CompletableFuture<>();
        private final List<ByteBuffer> parts = new ArrayList<>();
        private Flow.Subscription subscription;
        private int length;

        @Override
        public CompletionStage<byte[]> getBody() {
            return body;
        }

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription = given;
            given.request(Long.MAX_VALUE);
        }

        @Override
        public void onNext(List<ByteBuffer> buffers) {
            for (ByteBuffer buffer : buffers) {
                length += buffer.remaining();
                parts.add(buffer);
            }
            if (length > MOST_BYTES) {
                subscription.cancel();
                body.completeExceptionally(new IOException("the key set has more than " + MOST_BYTES + " bytes"));
            }
        }

        @Override
        public void onError(Throwable error) {
            body.completeExceptionally(error);
        }

        @Override
        public void onComplete() {
            ByteBuffer all = ByteBuffer.allocate(length);
            parts.forEach(all::put);
            body.complete(all.array());
        }
    }
}
