//! Keys and settings that a receiver trusts, read from the options of `verify` and `listen`.

use std::time::Duration;

use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::standard_webhooks::SigningSecret;
use time::OffsetDateTime;
use url::Url;

use crate::args::Trusted;
use crate::aws::Aws;
use crate::failure::{Failure, Outcome};
use crate::input;
use crate::verify::Trust;
use crate::verify::keys::PublishedKey;

/// Returns the present moment in seconds since the Unix epoch.
pub fn now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default()
}

/// Reads keys and secrets.
pub async fn read(trusted: &Trusted, aws: &Aws<'_>) -> Outcome<Trust> {
    let keys = match &trusted.keys {
        Some(place) => keys(place, aws).await?,
        None => Vec::new(),
    };
    let secrets = trusted.secret_file.as_deref().map(secret).transpose()?.into_iter().collect();
    let url = trusted.url.as_deref().map(|text| {
        let unfit = |_| {
            Failure::usage(
                format!("--url is `{text}`; expected a URL such as https://hooks.example/in"),
                "copy it from the endpoint's settings",
            )
        };
        Url::parse(text).map_err(unfit)
    });
    let algorithm = trusted.algorithm.as_deref().map(|text| {
        let unfit = || {
            Failure::usage(
                format!("--algorithm is `{text}`; expected RS256, ES256 or EdDSA"),
                "copy the endpoint's `jwsAlgorithm`",
            )
        };
        Algorithm::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(text)).ok_or_else(unfit)
    });
    Ok(Trust {
        keys,
        secrets,
        endpoint: trusted.endpoint.clone(),
        url: url.transpose()?,
        algorithm: algorithm.transpose()?,
        now: Some(now()),
        tolerance: Duration::from_secs(trusted.tolerance),
    })
}

/// Reads a key set from a URL or a file.
pub async fn keys(place: &str, aws: &Aws<'_>) -> Outcome<Vec<PublishedKey>> {
    let next = "use the endpoint's `jwksUrl`, which ends in /.well-known/jwks.json, or a file with its answer";
    let bytes = if place.starts_with("http://") || place.starts_with("https://") {
        let answer = aws.get(place).await?;
        match answer.status {
            200 => answer.body,
            404 => return Err(Failure::not_found(format!("{place} answers 404"), next)),
            status => return Err(Failure::refused(format!("{place} answered {status}; expected 200"), next)),
        }
    } else {
        input::read(place)?
    };
    PublishedKey::parse_set(&bytes).map_err(|error| Failure::refused(format!("`{place}`: {error}"), next))
}

fn secret(path: &str) -> Outcome<SigningSecret> {
    let text = input::read_secret(path)?;
    parse_secret(text.reveal()).ok_or_else(|| {
        Failure::usage(
            format!("`{path}` holds no signing secret; expected `whsec_` and base64 of 24 to 64 bytes"),
            "copy the endpoint's `signingSecret`",
        )
    })
}

/// Parses `whsec_…`.
pub fn parse_secret(text: &str) -> Option<SigningSecret> {
    SigningSecret::parse(text.trim())
}
