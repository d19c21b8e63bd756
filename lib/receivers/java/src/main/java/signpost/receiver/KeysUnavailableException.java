package signpost.receiver;

/** A key set that could not be fetched, so nothing is known about the request. Answer 503: Signpost sends it again. */
public final class KeysUnavailableException extends ReceiverException {
    private static final long serialVersionUID = 1;

    KeysUnavailableException(String url, Throwable cause) {
        super("keys-unavailable", 503, "the key set at `" + url + "` could not be fetched (" + why(cause)
                + "); compare the URL with the endpoint's `jwksUrl`", cause);
    }

    private static String why(Throwable cause) {
        return cause == null || cause.getMessage() == null ? String.valueOf(cause) : cause.getMessage();
    }
}
