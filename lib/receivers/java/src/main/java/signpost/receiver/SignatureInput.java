package signpost.receiver;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A member of {@code signature-input} (RFC 9421). {@code text} is the last line of the signature base. */
record SignatureInput(String label, String text, List<String> components, Map<String, String> parameters) {
    private static final Pattern INNER_LIST = Pattern.compile("\\(([^)]*)\\)(.*)");

    /** Finds the signature with the tag {@code signpost}. */
    static Optional<SignatureInput> ofSignpost(String field) {
        return members(field).stream().map(SignatureInput::parse).flatMap(Optional::stream)
                .filter(one -> "signpost".equals(one.parameters.get("tag"))).findFirst();
    }

    private static Optional<SignatureInput> parse(String[] member) {
        Matcher found = INNER_LIST.matcher(member[1]);
        if (!found.matches()) {
            return Optional.empty();
        }
        List<String> components = Arrays.stream(found.group(1).trim().split(" +")).map(SignatureInput::unquoted).toList();
        Map<String, String> parameters = new HashMap<>();
        for (String pair : found.group(2).split(";")) {
            String[] parts = pair.split("=", 2);
            if (parts.length == 2) {
                parameters.put(parts[0].trim(), unquoted(parts[1]));
            }
        }
        return Optional.of(new SignatureInput(member[0], member[1], components, parameters));
    }

    /** Finds a member of {@code signature}. */
    static Optional<String> signature(String field, String label) {
        return members(field).stream().filter(one -> one[0].equals(label)).map(one -> one[1]).reduce((a, b) -> b);
    }

    /** Makes the signature base (RFC 9421, section 2.5). */
    byte[] base(Request request, String url) {
        StringBuilder base = new StringBuilder();
        for (String name : components) {
            String value = switch (name) {
                case "@method" -> request.method;
                case "@target-uri" -> url;
                default -> request.headers.getOrDefault(name, "");
            };
            base.append('"').append(name).append("\": ").append(value).append('\n');
        }
        base.append("\"@signature-params\": ").append(text);
        return base.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static String unquoted(String text) {
        return text.replaceAll("^\"+|\"+$", "");
    }

    /** Splits a dictionary (RFC 9651, section 3.2) at the commas outside of quotes and parentheses. */
    private static List<String[]> members(String text) {
        List<String[]> members = new ArrayList<>();
        boolean isInString = false;
        int depth = 0;
        int start = 0;
        for (int at = 0; at <= text.length(); at++) {
            char next = at < text.length() ? text.charAt(at) : ',';
            if (next == '"') {
                isInString = !isInString;
            } else if (at == text.length() || (next == ',' && !isInString && depth == 0)) {
                String[] parts = text.substring(start, at).trim().split("=", 2);
                if (parts.length == 2) {
                    members.add(parts);
                }
                start = at + 1;
            } else if (!isInString) {
                depth += next == '(' ? 1 : next == ')' ? -1 : 0;
            }
        }
        return members;
    }
}
