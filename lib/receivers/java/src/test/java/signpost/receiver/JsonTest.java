package signpost.receiver;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class JsonTest {
    private static Optional<Object> parse(String text) {
        return Json.parse(text.getBytes(StandardCharsets.UTF_8));
    }

    @Test
    void values_of_each_kind_are_read() {
        String text = " {\"a\": [1, -0.5e+3, true, false, null], \"b\\u00e9\\n\": \"\\ud83e\\udd8a\", \"c\": {}, \"d\": []} ";
        assertEquals(Map.of("a", List.of("1", "-0.5e+3", true, false, Json.NULL), "bé\n", "🦊", "c", Map.of(), "d", List.of()),
                parse(text).orElseThrow());
    }

    @Test
    void other_texts_are_refused() {
        for (String text : List.of("", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "01", "1.", ".5", "+1", "NaN",
                "'a'", "\"a", "\"\t\"", "\"\\x\"", "\"\\u00g0\"", "tru", "nullx", "[1] 2", "{} {}", "[".repeat(200) + "]".repeat(200))) {
            assertEquals(Optional.empty(), parse(text), text);
        }
        assertEquals(Optional.empty(), Json.parse(new byte[] {'"', (byte) 0xff, '"'}));
        assertEquals(Optional.empty(), Json.parseObject("[]".getBytes(StandardCharsets.UTF_8)));
    }
}
