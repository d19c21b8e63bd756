//! Saved requests: a raw HTTP message, the output of `curl -i` or `curl -v`, or a HAR file.

use serde::Deserialize;

/// A request as somebody saved it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedRequest {
    /// The method, if the file has a request line.
    pub method: Option<String>,
    /// The target of the request line: a path, or a whole URL.
    pub target: Option<String>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The bytes after the headers.
    pub body: Vec<u8>,
}

#[derive(Deserialize)]
struct Har {
    log: HarLog,
}

#[derive(Deserialize)]
struct HarLog {
    entries: Vec<HarEntry>,
}

#[derive(Deserialize)]
struct HarEntry {
    request: HarRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HarRequest {
    method: String,
    url: String,
    headers: Vec<HarHeader>,
    post_data: Option<HarBody>,
}

#[derive(Deserialize)]
struct HarHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct HarBody {
    #[serde(default)]
    text: String,
}

const SIGNATURE_HEADERS: [&str; 3] = ["jws-signature", "webhook-signature", "signature"];

impl SavedRequest {
    /// Returns the value of a header. `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// Returns whether a header of one of the three formats is present.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        SIGNATURE_HEADERS.iter().any(|name| self.header(name).is_some())
    }

    /// Reads all requests of a file. Of a HAR file, these are the signed ones, or all if none is signed.
    ///
    /// # Errors
    /// The text is neither a HAR file nor an HTTP message. The message says what was expected.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, String> {
        if let Ok(har) = serde_json::from_slice::<Har>(bytes) {
            let all: Vec<_> = har.log.entries.into_iter().map(|entry| Self::from(entry.request)).collect();
            let signed: Vec<_> = all.iter().filter(|one| one.is_signed()).cloned().collect();
            return Ok(if signed.is_empty() { all } else { signed });
        }
        Self::parse_message(bytes).map(|one| vec![one])
    }

    fn parse_message(bytes: &[u8]) -> Result<Self, String> {
        let (head, body) = split_head(bytes);
        let head =
            std::str::from_utf8(head).map_err(|_| "the headers are not text; expected an HTTP message".to_owned())?;
        let lines = head.lines().map(|line| line.strip_prefix("> ").unwrap_or(line).trim_end());
        let mut lines = lines.filter(|line| !line.starts_with("* ") && !line.is_empty() && *line != ">").peekable();
        let mut request = Self::default();
        if let Some(first) = lines.peek() {
            if let [method, target, version] = first.split(' ').collect::<Vec<_>>()[..]
                && version.starts_with("HTTP/")
            {
                (request.method, request.target) = (Some(method.to_owned()), Some(target.to_owned()));
                lines.next();
            } else if first.starts_with("HTTP/") {
                lines.next();
            }
        }
        for line in lines {
            let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) else {
                let shown: String = line.chars().take(40).collect();
                return Err(format!(
                    "`{shown}` is not a header; expected an HTTP message, `curl -i` output, or a HAR file"
                ));
            };
            request.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        if request.headers.is_empty() {
            return Err("there is no header; expected an HTTP message, `curl -i` output, or a HAR file".to_owned());
        }
        request.body = body.to_vec();
        request.drop_the_editors_newline();
        Ok(request)
    }

    /// Removes a line end that an editor added. `content-length` shows it.
    fn drop_the_editors_newline(&mut self) {
        let Some(length) = self.content_length() else { return };
        let extra = self.body.get(length..).unwrap_or_default();
        if matches!(extra, b"\n" | b"\r\n") {
            self.body.truncate(length);
        }
    }

    /// Writes the request as an HTTP message, which [`Self::parse_all`] reads.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        let line = |(name, value): &(String, String)| format!("{name}: {value}\r\n");
        let (method, target) = (self.method.as_deref().unwrap_or("POST"), self.target.as_deref().unwrap_or("/"));
        let headers: String = self.headers.iter().map(line).collect();
        [format!("{method} {target} HTTP/1.1\r\n{headers}\r\n").into_bytes(), self.body.clone()].concat()
    }

    /// Returns the length that the sender announced.
    #[must_use]
    pub fn content_length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }
}

impl From<HarRequest> for SavedRequest {
    fn from(request: HarRequest) -> Self {
        let headers = request.headers.into_iter().map(|one| (one.name.to_ascii_lowercase(), one.value)).collect();
        let body = request.post_data.map(|body| body.text.into_bytes()).unwrap_or_default();
        Self { method: Some(request.method), target: Some(request.url), headers, body }
    }
}

/// Returns whether a text may name a header (RFC 9110, section 5.6.2).
fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// Splits at the first empty line.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[start..start + length];
        start += length + 1;
        if matches!(line, b"" | b"\r" | b"> " | b">" | b"> \r") {
            return (&bytes[..start], &bytes[start..]);
        }
    }
    (bytes, &[])
}
