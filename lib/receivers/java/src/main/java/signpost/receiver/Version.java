package signpost.receiver;

/** The version of the package, as pom.xml has it. */
final class Version {
    static final String VERSION = "0.1.0";

    private Version() {}
}
