package signpost.receiver;

/** A request that gave no event. Answer {@link #status()}. */
public abstract sealed class ReceiverException extends Exception
        permits VerificationException, KeysUnavailableException {
    private static final long serialVersionUID = 1;
    private final String step;
    private final int status;

    ReceiverException(String step, int status, String message, Throwable cause) {
        super(message, cause);
        this.step = step;
        this.status = status;
    }

    /** Returns the step that failed, by the names of {@code signpost verify}, or {@code keys-unavailable}. */
    public String step() {
        return step;
    }

    /** Returns the status to answer: 401 refuses the request for good, and after 503 Signpost sends it again. */
    public int status() {
        return status;
    }
}
