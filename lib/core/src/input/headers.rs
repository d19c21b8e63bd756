//! Additional headers of endpoints.

/// The maximum number of additional headers of an endpoint.
pub const MAX_COUNT: usize = 20;
/// The maximum length of the name of such a header, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The maximum length of the value of such a header, in bytes.
pub const MAX_VALUE_BYTES: usize = 1_024;

/// Returns whether `text` may be a header's name: a token (RFC 9110, section 5.6.2).
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

/// Returns whether `text` may be a header's value: visible ASCII, with spaces and tabs only inside (RFC 9110, section
/// 5.5, without its obsolete forms). A line break is not allowed, because it would begin another header.
#[must_use]
pub fn is_value(text: &str) -> bool {
    let is_field = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    text.bytes().all(is_field) && text.trim_matches([' ', '\t']) == text
}

/// Returns whether endpoints may not set the header `name`, in lower case: because Signpost sets it, because it frames
/// the request, or because it contains a secret, which belongs in `auth`.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    let prefixes = ["ce-", "webhook-", "signpost-", "proxy-"];
    let names = [
        "accept-encoding",
        "authorization",
        "connection",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "jws-signature",
        "keep-alive",
        "signature",
        "signature-input",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_break_a_request_is_a_name_or_a_value() {
        for (name, fits) in [
            ("x-team", true),
            ("X_y.z~1", true),
            ("", false),
            ("a b", false),
            ("a:b", false),
            ("ä", false),
            ("a\n", false),
        ] {
            assert_eq!(is_name(name), fits, "{name:?}");
        }
        for (value, fits) in [
            ("", true),
            ("a b\tc", true),
            ("a\r\nb", false),
            ("a\0", false),
            ("ä", false),
            (" a", false),
            ("a ", false),
        ] {
            assert_eq!(is_value(value), fits, "{value:?}");
        }
    }

    #[test]
    fn headers_that_signpost_sets_or_that_frame_a_request_are_reserved() {
        for ours in
            ["webhook-id", "ce-type", "traceparent", "signpost-attempt", "host", "transfer-encoding", "authorization"]
        {
            assert!(is_ours(ours), "{ours}");
        }
        assert!(!is_ours("x-team"));
    }
}
