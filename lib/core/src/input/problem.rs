//! Problem documents: how an HTTP request is told what is wrong with it (RFC 9457).

use serde::Serialize;

use crate::input::fault::Fault;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document ([RFC 9457]), with every fault in `errors`.
///
/// `type` is left out, which means `about:blank`: the status says what kind of problem it is (section 4.2.1).
///
/// [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The HTTP status, repeated for those who only keep the body.
    pub status: u16,
    /// The same for every problem of this status.
    pub title: &'static str,
    /// What happened this time, and what to do.
    pub detail: String,
    /// Each fault of the request; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// The content codings that are taken, for the header `Accept-Encoding`, where the request came in another.
    #[serde(skip)]
    pub accept_encoding: Option<&'static str>,
}

impl Problem {
    /// 400: the request has these faults.
    #[must_use]
    pub fn bad_request(errors: Vec<Fault>) -> Self {
        let detail = "the request has faults; mend each of `errors` and send it again".into();
        Self { status: 400, title: "Bad Request", detail, errors, accept_encoding: None }
    }

    /// 404: there is nothing by that name.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self { status: 404, title: "Not Found", detail: detail.into(), errors: Vec::new(), accept_encoding: None }
    }

    /// 409: it cannot be done as things are.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self { status: 409, title: "Conflict", detail: detail.into(), errors: Vec::new(), accept_encoding: None }
    }

    /// 412: the version that the request is about is not the one there is (RFC 9110, section 15.5.13).
    #[must_use]
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self {
            status: 412,
            title: "Precondition Failed",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
        }
    }

    /// 413: something is over its size limit (RFC 9110, section 15.5.14).
    #[must_use]
    pub fn content_too_large(errors: Vec<Fault>) -> Self {
        let detail = "the request is too large; see `errors`".into();
        Self { status: 413, title: "Content Too Large", detail, errors, accept_encoding: None }
    }

    /// 415: the body is in a media type that is not spoken here.
    #[must_use]
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self {
            status: 415,
            title: "Unsupported Media Type",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
        }
    }

    /// 415: the body is in a content coding that is not spoken here (RFC 9110, section 15.5.16).
    #[must_use]
    pub fn unsupported_content_coding(coding: &str) -> Self {
        let detail = format!("content-encoding is `{coding}`; send the body as it is, without a content coding");
        Self { accept_encoding: Some("identity"), ..Self::unsupported_media_type(detail) }
    }

    /// 503: a fault on our side; the same request may be sent again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            status: 503,
            title: "Service Unavailable",
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
        }
    }
}
