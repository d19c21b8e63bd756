package signpost.receiver;

/** A request that does not verify. Answer 401. */
public final class VerificationException extends ReceiverException {
    private static final long serialVersionUID = 1;
    private final String found;
    private final String next;

    VerificationException(String step, String found, String next) {
        super(step, 401, step + ": " + found + "; " + next, null);
        this.found = found;
        this.next = next;
    }

    /** Returns the fact: found, and expected. */
    public String found() {
        return found;
    }

    /** Returns the advice. */
    public String next() {
        return next;
    }
}
