package signpost.receiver;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads JSON (RFC 8259), strictly. Objects become maps, arrays lists, and numbers their text. */
final class Json {
    private static final int DEEPEST = 128;
    private static final Pattern NUMBER = Pattern.compile("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?");
    /** Stands for {@code null}. */
    static final Object NULL = new Object();

    private final String text;
    private int at;
    private int depth;

    private Json(String text) {
        this.text = text;
    }

    /** Returns the value, or nothing if the bytes are not JSON in UTF-8. */
    static Optional<Object> parse(byte[] bytes) {
        try {
            Json json = new Json(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
            Object value = json.value();
            json.space();
            return json.at == json.text.length() ? Optional.of(value) : Optional.empty();
        } catch (CharacterCodingException | SyntaxException error) {
            return Optional.empty();
        }
    }

    /** Returns the members of an object, or nothing if the bytes are not an object. */
    static Optional<Map<?, ?>> parseObject(byte[] bytes) {
        return parse(bytes).filter(Map.class::isInstance).map(value -> (Map<?, ?>) value);
    }

    private static final class SyntaxException extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    private Object value() {
        space();
        if (++depth > DEEPEST) {
            throw new SyntaxException();
        }
        Object value = switch (peek()) {
            case '{' -> object();
            case '[' -> array();
            case '"' -> string();
            case 't' -> word("true", Boolean.TRUE);
            case 'f' -> word("false", Boolean.FALSE);
            case 'n' -> word("null", NULL);
            default -> number();
        };
        depth--;
        return value;
    }

    private Map<String, Object> object() {
        Map<String, Object> members = new LinkedHashMap<>();
        at++;
        space();
        if (skip('}')) {
            return members;
        }
        do {
            space();
            String name = string();
            space();
            need(':');
            members.put(name, value());
            space();
        } while (skip(','));
        need('}');
        return members;
    }

    private List<Object> array() {
        List<Object> items = new ArrayList<>();
        at++;
        space();
        if (skip(']')) {
            return items;
        }
        do {
            items.add(value());
            space();
        } while (skip(','));
        need(']');
        return items;
    }

    private String string() {
        need('"');
        StringBuilder string = new StringBuilder();
        while (true) {
            char next = take();
            if (next == '"') {
                return string.toString();
            } else if (next < ' ') {
                throw new SyntaxException();
            }
            string.append(next == '\\' ? escaped() : next);
        }
    }

    private char escaped() {
        char next = take();
        return switch (next) {
            case '"', '\\', '/' -> next;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'u' -> (char) (digit() << 12 | digit() << 8 | digit() << 4 | digit());
            default -> throw new SyntaxException();
        };
    }

    private int digit() {
        char next = take();
        int digit = next < 128 ? Character.digit(next, 16) : -1;
        if (digit < 0) {
            throw new SyntaxException();
        }
        return digit;
    }

    private String number() {
        Matcher found = NUMBER.matcher(text).region(at, text.length());
        if (!found.lookingAt()) {
            throw new SyntaxException();
        }
        at = found.end();
        return found.group();
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) {
            throw new SyntaxException();
        }
        at += word.length();
        return value;
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private char peek() {
        if (at >= text.length()) {
            throw new SyntaxException();
        }
        return text.charAt(at);
    }

    private char take() {
        char next = peek();
        at++;
        return next;
    }

    private boolean skip(char wanted) {
        boolean isThere = at < text.length() && text.charAt(at) == wanted;
        at += isThere ? 1 : 0;
        return isThere;
    }

    private void need(char wanted) {
        if (!skip(wanted)) {
            throw new SyntaxException();
        }
    }
}
