// One place for the version that the CLI and control report.

/// The version of this build.
public enum LocumVersion {
    public static let text = "0.1.0"
}
