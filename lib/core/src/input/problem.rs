//! Problem documents: the bodies of HTTP errors (RFC 9457).

use serde::Serialize;

use crate::input::fault::Fault;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document ([RFC 9457]), with all faults in `errors`.
///
/// `type` is absent, which means `about:blank`: the status defines the kind of problem (section 4.2.1).
///
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The HTTP status, repeated for clients that only keep the body.
    pub status: u16,
    /// The title, which is the same for every problem with this status.
    pub title: &'static str,
    /// A description of this problem, and of what the client can do.
    pub detail: String,
    /// All faults of the request. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// The content codings that Signpost accepts, for the header `Accept-Encoding`. Set if the request has another
    /// coding.
    #[serde(skip)]
    pub accept_encoding: Option<&'static str>,
    /// After how many seconds the same request may succeed, for the header `Retry-After`. Set if a quota is used up.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Returns 400: the request has these faults.
    #[must_use]
    pub fn bad_request(errors: Vec<Fault>) -> Self {
        let detail = "the request has faults; fix each of `errors` and send it again".into();
        Self { status: 400, title: "Bad Request", detail, errors, accept_encoding: None, retry_after: None }
    }

    /// Returns 401: the request has no credentials that count (RFC 9110, section 15.5.2).
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self {
            status: 401,
            title: "Unauthorized",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 403: the caller may not do this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self {
            status: 403,
            title: "Forbidden",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 404: there is nothing with this name.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self {
            status: 404,
            title: "Not Found",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 409: the current state does not allow this operation.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self {
            status: 409,
            title: "Conflict",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 410: it was there, and was removed for good (RFC 9110, section 15.5.11).
    #[must_use]
    pub fn gone(detail: impl Into<String>) -> Self {
        Self {
            status: 410,
            title: "Gone",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 412: the version in the request is not the current one (RFC 9110, section 15.5.13).
    #[must_use]
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self {
            status: 412,
            title: "Precondition Failed",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 413: something exceeds its size limit (RFC 9110, section 15.5.14).
    #[must_use]
    pub fn content_too_large(errors: Vec<Fault>) -> Self {
        let detail = "the request is too large; see `errors`".into();
        Self { status: 413, title: "Content Too Large", detail, errors, accept_encoding: None, retry_after: None }
    }

    /// Returns 415: the media type of the body is not supported.
    #[must_use]
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self {
            status: 415,
            title: "Unsupported Media Type",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }

    /// Returns 415: the content coding of the body is not supported (RFC 9110, section 15.5.16).
    #[must_use]
    pub fn unsupported_content_coding(coding: &str) -> Self {
        let detail = format!("content-encoding is `{coding}`; send the body without a content coding");
        Self { accept_encoding: Some("identity"), ..Self::unsupported_media_type(detail) }
    }

    /// Returns 429: a quota is used up for `retry_after` seconds (RFC 6585, section 4).
    #[must_use]
    pub fn too_many_requests(detail: impl Into<String>, retry_after: u64) -> Self {
        Self {
            status: 429,
            title: "Too Many Requests",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: Some(retry_after),
        }
    }

    /// Returns 503: an internal error. The client may send the same request again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            status: 503,
            title: "Service Unavailable",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            retry_after: None,
        }
    }
}
