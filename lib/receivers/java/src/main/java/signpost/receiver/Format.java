package signpost.receiver;

/** A signature format ({@code signatures} of an endpoint). */
public enum Format {
    /** JWS with a detached payload (RFC 7515, appendix F). */
    JWS("jws"),
    /** Standard Webhooks 1.0.0. */
    STANDARD_WEBHOOKS("standard-webhooks"),
    /** HTTP message signatures (RFC 9421). */
    HTTP_MESSAGE_SIGNATURES("http-message-signatures");

    private final String settingsName;

    Format(String settingsName) {
        this.settingsName = settingsName;
    }

    /** Returns the name in an endpoint's {@code signatures}. */
    @Override
    public String toString() {
        return settingsName;
    }
}
