//! Excerpts: the part of a response that Signpost stores.

use std::borrow::Cow;
use std::ops::Range;

use zeroize::Zeroizing;

use crate::delivery::spelling::Readings;
use crate::secret::Secret;

/// The number of bytes of a response that Signpost stores.
pub const KEPT_BYTES: usize = 1_024;

/// The number of bytes of a response that [`excerpt`] needs: [`KEPT_BYTES`], and a secret of 4 KiB before them.
pub const READ_BYTES: usize = KEPT_BYTES + 4 * 1_024;

/// The replacement for a secret.
const REDACTED: &str = "[redacted]";

/// The mark at the end of an excerpt that is not complete.
const CUT: &str = "…";

/// The length of the shortest secret that is searched. Shorter ones occur in other texts by chance, and are as easy to
/// guess as to read.
const MIN_CHARACTERS: usize = 4;

/// The length of the shortest beginning that is redacted if a receiver shortened a secret. Words with which a secret
/// may begin, such as `Bearer`, are shorter.
const MIN_HALF: usize = 16;

/// The maximum number of comparisons for one excerpt, which take about 20 ms. A response of 5 KiB and ten secrets need
/// less than a tenth, unless both repeat one character.
const MAX_STEPS: usize = 2_000_000;

/// Returns the beginning of a response body as text, at most [`KEPT_BYTES`]. It replaces bytes that are not UTF-8.
///
/// Error pages often print the request that failed. Therefore each of `secrets` is replaced by `[redacted]`, in every
/// spelling that a framework makes of it:
/// - escapes of JSON, HTML, URLs, forms and source code, up to four nested, with hexadecimal digits in either case;
/// - base64 in either alphabet, with padding and without;
/// - UTF-8, Latin-1, and UTF-8 that was read as Latin-1;
/// - its beginning, if that is at least half of it and 16 characters.
///
/// If a secret itself contains a spelling, such as `%2F`, its decoded form is also replaced. Secrets of fewer than 4
/// characters are not searched.
///
/// `is_cut` means that the receiver answered more than `body`. The excerpt then omits the end of `body` if that may be
/// the beginning of a secret or of a character. An incomplete excerpt ends with `…`.
///
/// If `body` and a secret repeat the same characters thousands of times, the search takes too long. The excerpt is then
/// only `[redacted]`.
#[must_use]
pub fn excerpt(body: &[u8], is_cut: bool, secrets: &[Secret]) -> String {
    let body = if is_cut { without_incomplete_character(body) } else { body };
    let Found { secrets, end } = find(body, is_cut, secrets);
    let mut pieces = Vec::new();
    let mut at = 0;
    for secret in secrets.into_iter().filter(|secret| secret.start < end) {
        pieces.push(String::from_utf8_lossy(&body[at..secret.start]));
        pieces.push(Cow::Borrowed(REDACTED));
        at = secret.end.min(end);
    }
    pieces.push(String::from_utf8_lossy(&body[at..end]));
    join(&pieces, is_cut)
}

/// Joins as many `pieces` as fit. It never cuts a redacted piece.
fn join(pieces: &[Cow<'_, str>], is_cut: bool) -> String {
    let is_cut = is_cut || pieces.iter().map(|piece| piece.len()).sum::<usize>() > KEPT_BYTES;
    let end = if is_cut { CUT } else { "" };
    let mut text = String::new();
    for piece in pieces {
        let room = KEPT_BYTES - end.len() - text.len();
        if piece.len() > room {
            if piece != REDACTED {
                text.push_str(&piece[..piece.floor_char_boundary(room)]);
            }
            break;
        }
        text.push_str(piece);
    }
    text + end
}

fn without_incomplete_character(body: &[u8]) -> &[u8] {
    let last = body.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
    let is_incomplete = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if is_incomplete { &body[..body.len() - last.len()] } else { body }
}

/// The parts of a body that are not stored.
struct Found {
    /// The ranges of secrets, in the order of the body. They do not overlap.
    secrets: Vec<Range<usize>>,
    /// The start of an incomplete secret at the end of the body. The length of the body if there is none.
    end: usize,
}

fn find(body: &[u8], is_cut: bool, secrets: &[Secret]) -> Found {
    let mut found = Found { secrets: Vec::new(), end: body.len() };
    let terms = terms(secrets);
    if terms.is_empty() {
        return found;
    }
    let readings = Readings::new(body, is_cut);
    let mut steps = MAX_STEPS;
    for term in &terms {
        let half = term.len().div_ceil(2).max(MIN_HALF).min(term.len());
        for start in 0..body.len() {
            let reach = readings.reach(start, term, &mut steps);
            if reach.characters >= half {
                found.secrets.push(start..reach.end);
            }
            if reach.characters < term.len() && reach.is_open {
                found.end = found.end.min(start);
            }
        }
    }
    if steps == 0 {
        found.secrets.push(0..body.len()); // The rest of the body is unknown.
        found.end = body.len();
    }
    found.secrets = merged(found.secrets);
    found
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Lists the texts to search: each secret as it is, and decoded, without the padding of base64.
fn terms(secrets: &[Secret]) -> Vec<Zeroizing<Vec<u32>>> {
    let spelled = secrets.iter().map(|secret| secret.reveal().chars().map(u32::from).collect());
    let plain = secrets.iter().map(|secret| Readings::new(secret.reveal().as_bytes(), false).plain());
    let mut terms: Vec<_> =
        spelled.chain(plain).filter(|term| term.len() >= MIN_CHARACTERS).map(Zeroizing::new).collect();
    for term in &mut terms {
        while term.len() > MIN_CHARACTERS && term.last() == Some(&u32::from('=')) {
            term.pop();
        }
    }
    terms.sort_unstable_by(|one, other| one.as_slice().cmp(other));
    terms.dedup();
    terms
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn an_excerpt_is_a_kilobyte_of_text_at_the_most() {
        let long = "ü".repeat(1_000);
        let cases: [(&[u8], _, &str, _); 9] = [
            (b"no such payment", false, "no such payment", "a whole answer"),
            (b"no such payment", true, "no such payment…", "the beginning of a secret"),
            (b"\xff\xfe ok", false, "\u{fffd}\u{fffd} ok", "no UTF-8"),
            (b"ok \xc3", false, "ok \u{fffd}", "half a character that the receiver answered"),
            (b"ok \xc3", true, "ok …", "half a character that reading left"),
            (b"ok \xf0\x9f\x98", true, "ok …", "three quarters of a character"),
            (b"ok \xff", true, "ok \u{fffd}…", "not the beginning of a character"),
            (long.as_bytes(), false, &format!("{}…", "ü".repeat(510)), "cut at a character"),
            (&long.as_bytes()[..1_024], false, &"ü".repeat(512), "a whole answer that just fits"),
        ];
        for (body, is_cut, expected, why) in cases {
            assert_eq!(excerpt(body, is_cut, &[]), expected, "{why}");
        }
        assert_eq!(excerpt(&[0xff; 2_000], false, &[]).len(), 1_023, "a replacement has three bytes");
    }

    #[test]
    fn a_secret_that_comes_back_is_not_kept() {
        let secrets = ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"].map(secret);
        let page = b"<pre>authorization: Basic dXNlcjpwYXNz (dXNlcjpwYXNz)</pre>";
        assert_eq!(excerpt(page, false, &secrets), "<pre>authorization: [redacted] ([redacted])</pre>");
        let page = b"Basic dXNlcjpwYXNz, Basic dXNlcjpwYXNz, Basic dXNlcjpwYX";
        assert_eq!(excerpt(page, true, &secrets), "[redacted], [redacted], …", "cut in the middle of the third");
        let page = [&[b'x'; 1_015], &page[..18]].concat();
        assert_eq!(excerpt(&page, false, &secrets), format!("{}…", "x".repeat(1_015)), "no room for the mark");
    }

    /// Spellings of `Ab/9+x="y'&<z>\é k`. Python, Django, Flask, Jinja, Express, Handlebars, Mustache, JavaScript and Java's
    /// `URLEncoder` printed theirs; the others follow the documentation.
    const ECHOES: [(&[u8], &str); 48] = [
        (r#"Ab/9+x="y'&<z>\é k"#.as_bytes(), "plain text"),
        (br#"Ab\/9+x=\"y'&<z>\\\u00e9 k"#, "PHP json_encode: escapes the slash and what is not ASCII"),
        (
            br"Ab\/9+x=\u0022y\u0027\u0026\u003Cz\u003E\\\u00e9 k",
            "PHP json_encode with JSON_HEX_*: is safe within HTML",
        ),
        (b"Ab%2F9%2Bx%3D%22y%27%26%3Cz%3E%5C%C3%A9+k", "PHP urlencode: a space is a plus"),
        (b"Ab%2F9%2Bx%3D%22y%27%26%3Cz%3E%5C%C3%A9%20k", "PHP rawurlencode: a space is %20"),
        (r"Ab/9+x=&quot;y&#039;&amp;&lt;z&gt;\é k".as_bytes(), "PHP htmlspecialchars: a number with a leading zero"),
        (br"Ab/9+x=&quot;y&#039;&amp;&lt;z&gt;\&eacute; k", "PHP htmlentities: names all that have a name"),
        (r#"Ab/9+x="y\'&<z>\\é k"#.as_bytes(), "PHP var_export: single quotes"),
        (br#"Ab/9+x=\"y'&<z>\\\u00e9 k"#, "Python json.dumps, Flask jsonify: ASCII only"),
        (r"Ab/9+x=&quot;y&#x27;&amp;&lt;z&gt;\é k".as_bytes(), "Python html.escape, Django: hexadecimal"),
        (r"Ab/9+x=&#34;y&#39;&amp;&lt;z&gt;\é k".as_bytes(), "Flask, Jinja (MarkupSafe): decimal"),
        (r"Ab/9+x=&quot;y\&#x27;&amp;&lt;z&gt;\\é k".as_bytes(), "Django debug page: repr within HTML"),
        (
            r"Ab/9+x\u003D\u0022y\u0027\u0026\u003Cz\u003E\u005Cé k".as_bytes(),
            "Django escapejs: escapes the equals sign",
        ),
        (br#"Ab/9+x=\"y\u0027\u0026\u003cz\u003e\\\u00e9 k"#, "Jinja tojson: is safe within HTML"),
        (r#"Ab/9+x="y\'&<z>\\é k"#.as_bytes(), "Python repr of a text"),
        (br#"Ab/9+x="y\'&<z>\\\xc3\xa9 k"#, "Python repr of bytes: UTF-8 by byte"),
        (br#"Ab/9+x="y\'&<z>\\\xe9 k"#, "Python repr of bytes: Latin-1, as WSGI decodes headers"),
        (b"Ab/9%2Bx%3D%22y%27%26%3Cz%3E%5C%C3%A9%20k", "Python quote: leaves the slash"),
        (b"Ab%252F9%252Bx%253D%2522y%2527%2526%253Cz%253E%255C%25C3%25A9%2Bk", "Python quote of quote_plus: twice"),
        (br#"Ab/9+x=\\\"y'&<z>\\\\\\u00e9 k"#, "Python json.dumps of json.dumps: JSON within JSON"),
        (br"Ab/9+x=\&quot;y&#x27;&amp;&lt;z&gt;\\\u00e9 k", "Python html.escape of json.dumps: JSON within HTML"),
        (r#"Ab/9+x=\"y'&<z>\\é k"#.as_bytes(), "Express res.json, Jackson, Rust `{:?}`, Ruby inspect, Go %q"),
        (r#"Ab/9+x=\"y'\u0026\u003cz\u003e\\é k"#.as_bytes(), "Express `json escape`, Go json.Marshal, Rails to_json"),
        (r"Ab/9+x=&quot;y&#39;&amp;&lt;z&gt;\é k".as_bytes(), "Express escape-html, Rails ERB"),
        (b"Ab%2F9%2Bx%3D%22y&#39;%26%3Cz%3E%5C%C3%A9%20k", "Express 404 page: a URL within HTML"),
        (b"Ab%2F9%2Bx%3D%22y'%26%3Cz%3E%5C%C3%A9%20k", "JavaScript encodeURIComponent: leaves the apostrophe"),
        (b"Ab%2F9%2Bx%3D%22y%27%26%3Cz%3E%5C%C3%A9+k", "URLSearchParams, Java URLEncoder, Ruby CGI.escape"),
        (b"Ab/9+x%3D%22y%27%26%3Cz%3E%5C%E9%20k", "JavaScript escape: Latin-1"),
        (r"Ab/9+x&#x3D;&quot;y&#x27;&amp;&lt;z&gt;\é k".as_bytes(), "Handlebars: escapes the equals sign"),
        (r"Ab&#x2F;9+x&#x3D;&quot;y&#39;&amp;&lt;z&gt;\é k".as_bytes(), "Mustache: escapes the slash"),
        (br"Ab/9+x=&quot;y&#39;&amp;&lt;z&gt;\&eacute; k", "Spring's error page (HtmlUtils.htmlEscape)"),
        (r#"Ab/9+x\u003d\"y\u0027\u0026\u003cz\u003e\\é k"#.as_bytes(), "Gson: is safe within HTML"),
        (r"Ab/9&#43;x=&#34;y&#39;&amp;&lt;z&gt;\é k".as_bytes(), "Go html/template: escapes the plus"),
        (r"Ab/9+x=&#34;y&#39;&amp;&lt;z&gt;\é k".as_bytes(), "Go html.EscapeString: leaves it"),
        (br#"Ab/9+x=\"y'&<z>\\\u00e9 k"#, "Go %+q: ASCII only"),
        (br"Ab/9\u002Bx=\u0022y\u0027\u0026\u003Cz\u003E\\\u00E9 k", ".NET System.Text.Json: escapes the plus"),
        (br"Ab/9&#x2B;x=&quot;y&#x27;&amp;&lt;z&gt;\&#xE9; k", ".NET HtmlEncoder, Razor: hexadecimal in capitals"),
        (br"Ab/9+x=&quot;y&#39;&amp;&lt;z&gt;\&#233; k", ".NET WebUtility.HtmlEncode: decimal"),
        (br"Ab/9+x=\x22y'&<z>\x5C\xC3\xA9 k", "nginx log_format: by byte"),
        (br"Ab/9+x=\042y\047&<z>\\\303\251 k", "protobuf's text format: octal"),
        (br#"Ab/9+x=\"y\'&<z>\\\u{e9} k"#, "Rust escape_default: braces"),
        (r#"Ab/9+x="y''&<z>\é k"#.as_bytes(), "SQL, YAML: an apostrophe is two"),
        (r#"Ab/9+x=""y'&<z>\é k"#.as_bytes(), "CSV: a quote is two"),
        (b"Ab/9+x=\"y'&<z>\\\xe9 k", "a page in Latin-1"),
        ("Ab/9+x=\"y'&<z>\\\u{c3}\u{a9} k".as_bytes(), "UTF-8 that was read as Latin-1"),
        (br"Ab&sol;9&plus;x&equals;&quot;y&apos;&amp;&lt;z&gt;&bsol;&eacute;&nbsp;k", "names of HTML5"),
        (
            br"Ab&#47;9&#X2b;x&#x0003D;&#34;y&#x27;&#38;&#60;z&#62;&#092;&#xe9;&#160;k",
            "numbers of HTML, as XML writers mix them",
        ),
        (
            br"Ab%252f9%252bx%253d%2522y%2527%2526%253cz%253e%255c%25c3%25a9%2520k",
            "a proxy that encodes an encoded URL",
        ),
    ];

    #[test]
    fn a_secret_is_not_kept_in_any_spelling_of_a_framework() {
        let secrets = [secret(r#"Ab/9+x="y'&<z>\é k"#)];
        for (echo, why) in ECHOES {
            let page = [b"no route: ", echo, b": end"].concat();
            assert_eq!(excerpt(&page, false, &secrets), "no route: [redacted]: end", "{why}");
            for cut in 1..echo.len() {
                let kept = excerpt(&page[..10 + cut], true, &secrets);
                assert_eq!(kept, "no route: …", "{why}: cut after {cut} bytes");
            }
        }
    }

    #[test]
    fn base64_is_not_kept_with_padding_or_without_in_either_alphabet() {
        let cases = [
            ("dXNlcjphP2I+Y35k", "dXNlcjphP2I-Y35k", "Java getUrlEncoder"),
            ("dXNlcjphP2I-Y35k", "dXNlcjphP2I+Y35k", "the other way"),
            ("dXNlcjphP2I+Y35k", "dXNlcjphP2I Y35k", "a form decoded it"),
            ("dXNlcjo/PzpwYQ==", "dXNlcjo_PzpwYQ", "base64url has no padding in JOSE (RFC 7515, section 2)"),
            ("dXNlcjo/PzpwYQ==", "dXNlcjo%2FPzpwYQ%3D%3d", "padding in a URL"),
            ("dXNlcjo/PzpwYQ==", r"dXNlcjo\/PzpwYQ\u003d\u003d", "padding in JSON"),
            ("dXNlcjo_PzpwYQ", "dXNlcjo/PzpwYQ==", "padding that was added"),
        ];
        for (credential, echo, why) in cases {
            let page = format!("<{echo}>");
            assert_eq!(excerpt(page.as_bytes(), false, &[secret(credential)]), "<[redacted]>", "{why}");
        }
    }

    #[test]
    fn only_secrets_are_redacted() {
        let cases = [
            ("", "a", "a", "an empty secret is ignored"),
            ("200", "status 200", "status 200", "too short to distinguish from other text"),
            ("pass", "no passport", "no [redacted]port", "long enough, in any position"),
            ("Bearer abc", "expected Bearer", "expected Bearer", "half of it, but a word"),
            (
                "a%2Fbc",
                "a/bc a%2Fbc a%2fbc a%252Fbc",
                "[redacted] [redacted] [redacted] [redacted]",
                "encoded by its owner",
            ),
            (r"a\nbc", "a\nbc", "[redacted]", "decoded by the receiver"),
            ("2YotnFZFEjr1zCsicMWpAA9", "2YotnFZFEjr1zCsi...", "[redacted]...", "shortened by the receiver"),
            ("2YotnFZFEjr1zCsicMWpAA9", "2YotnFZFEj...", "2YotnFZFEj...", "shortened to less than half"),
            ("abab", "ababab", "[redacted]", "overlaps itself"),
        ];
        for (text, page, expected, why) in cases {
            assert_eq!(excerpt(page.as_bytes(), false, &[secret(text)]), expected, "{why}");
        }
    }

    #[test]
    fn the_value_in_the_query_of_an_endpoint_is_not_kept() {
        let target =
            crate::endpoint::target::TargetRules::INTERNET.parse("https://tpp.example/in?token=s3cr%2Ft").unwrap();
        for answer in ["no route /in?token=s3cr%2Ft", "no route /in?token=s3cr/t", "no route /in?token=s3cr%252Ft"] {
            assert_eq!(excerpt(answer.as_bytes(), false, &target.query_secrets()), "no route /in?token=[redacted]");
        }
    }

    #[test]
    fn a_body_that_takes_too_long_to_search_is_not_kept() {
        for character in ["a", r"\"] {
            let secrets = [secret(&format!("{}b", character.repeat(4_000)))];
            assert_eq!(excerpt(character.repeat(READ_BYTES).as_bytes(), false, &secrets), "[redacted]");
        }
    }

    /// A spelling of one character.
    type Encoder = fn(char) -> String;

    const ENCODERS: [Encoder; 12] = [
        |c| match c {
            '/' | '"' | '\\' => format!("\\{c}"), // JSON of PHP.
            c if c.is_ascii() => c.to_string(),
            c => by_unit(c, |unit| format!("\\u{unit:04x}")),
        },
        |c| by_unit(c, |unit| format!("\\u{unit:04X}")),
        |c| by_byte(c, |byte| format!("%{byte:02x}")),
        |c| url::form_urlencoded::byte_serialize(c.to_string().as_bytes()).collect(),
        |c| match c {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            '\'' => "&#039;".into(),
            c => c.into(),
        },
        |c| format!("&#{};", u32::from(c)),
        |c| format!("&#x{:06X};", u32::from(c)),
        |c| match c {
            '/' => "&sol;".into(),
            '+' => "&plus;".into(),
            '=' => "&equals;".into(),
            ':' => "&colon;".into(),
            '&' => "&amp;".into(),
            'é' => "&eacute;".into(),
            ' ' => "&nbsp;".into(),
            c => c.into(),
        },
        |c| if c.is_ascii_alphanumeric() { c.into() } else { c.escape_unicode().to_string() },
        |c| c.to_string().into_bytes().escape_ascii().to_string(),
        |c| if matches!(c, '\'' | '"') { [c, c].iter().collect() } else { c.into() },
        |c| {
            match c {
                '+' => '-',
                '/' => '_',
                c => c,
            }
            .into()
        },
    ];

    fn by_unit(c: char, spell: fn(u16) -> String) -> String {
        c.encode_utf16(&mut [0; 2]).iter().copied().map(spell).collect()
    }

    fn by_byte(c: char, spell: fn(u8) -> String) -> String {
        c.encode_utf8(&mut [0; 4]).bytes().map(spell).collect()
    }

    fn encode(text: &str, encoders: &[Encoder]) -> String {
        encoders.iter().fold(text.to_owned(), |text, encode| text.chars().map(encode).collect())
    }

    fn encoders() -> impl Strategy<Value = Vec<Encoder>> {
        proptest::collection::vec(proptest::sample::select(&ENCODERS[..]), 0..=3)
    }

    proptest! {
        /// No excerpt contains half of a secret, however often an answer prints the secret, and wherever it is cut.
        #[test]
        fn no_half_of_a_secret_is_kept(secret in "[a-z0-9]{8,600}", copies in 1..20_usize, between in "[A-Z <>:]{0,40}", more in 0..700_usize) {
            let page = [between.as_str(), secret.as_str()].concat().repeat(copies);
            let read = &page.as_bytes()[..page.len().min(KEPT_BYTES + more)];
            let kept = excerpt(read, read.len() < page.len(), &[Secret::new(secret.clone())]);
            prop_assert!(kept.len() <= KEPT_BYTES);
            prop_assert!(!kept.contains(&secret[..secret.len().div_ceil(2)]), "{}", kept);
        }

        /// No excerpt contains a part of a secret in any spelling, and every excerpt contains the text around it.
        #[test]
        fn only_the_text_around_a_spelled_secret_is_kept(
            text in "[a-z0-9 -/:-@\\[-`{-~éß€😀]{4,40}", encoders in encoders(), before in "[A-Z]{0,40}", after in "[A-Z]{0,40}",
        ) {
            let page = [&*before, &encode(&text, &encoders), &after].concat();
            prop_assert_eq!(excerpt(page.as_bytes(), false, &[secret(&text)]), format!("{before}[redacted]{after}"), "{}", page);
        }

        /// No excerpt contains a part of a secret whose spelling is cut anywhere.
        #[test]
        fn a_spelled_secret_that_is_cut_is_not_kept(
            text in "[a-z0-9 -/:-@\\[-`{-~éß€😀]{4,40}", encoders in encoders(), before in "[A-Z]{0,40}", cut in any::<proptest::sample::Index>(),
        ) {
            let spelled = encode(&text, &encoders);
            let page = [before.as_bytes(), &spelled.as_bytes()[..cut.index(spelled.len())]].concat();
            let kept = excerpt(&page, true, &[secret(&text)]).replace(REDACTED, "");
            prop_assert!(kept.ends_with(CUT) && before.starts_with(kept.trim_end_matches(CUT)), "{kept} of {}", String::from_utf8_lossy(&page));
        }

        #[test]
        fn any_body_and_any_secrets_have_an_excerpt(
            body in "([%&\\\\'\"#xu0-9a-f;{}=+]|\\PC){0,300}", noise in proptest::collection::vec(any::<u8>(), 0..20), is_cut: bool,
            secrets in proptest::collection::vec("([%&\\\\'\"#xu0-9a-f;{}=+]|\\PC){0,20}", 0..5),
        ) {
            let secrets: Vec<_> = secrets.iter().map(|text| secret(text)).collect();
            let body = [body.as_bytes(), &noise].concat();
            prop_assert!(excerpt(&body, is_cut, &secrets).len() <= KEPT_BYTES);
        }
    }
}
