//! Requests to AWS, signed with SigV4: the stack's API, and the few calls of CloudFormation, Lambda, SQS and STS.
//!
//! One HTTP client serves all of them. An SDK for each service would make the program ten times as large.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Client;
use tokio::sync::OnceCell;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// How long an answer may take. API Gateway answers within 30 s, and a redrive within half a minute.
const PATIENCE: Duration = Duration::from_mins(1);

/// Credentials, region and client, found when they are first needed.
#[derive(Debug)]
pub struct Aws<'a> {
    global: &'a Global,
    output: &'a Output,
    http: Client,
    config: OnceCell<SdkConfig>,
    credentials: OnceCell<Credentials>,
}

/// A request before it is signed.
#[derive(Debug)]
pub struct Unsigned<'a> {
    /// The AWS service, as SigV4 spells it.
    pub service: &'static str,
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: &'a str,
    /// Headers besides those of the signature.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the body as JSON; `null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Makes the client. It follows no redirects, because a signature is for one URL.
///
/// # Errors
/// The system has no usable certificates.
pub fn http_client() -> Outcome<Client> {
    let built = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("signpost-cli/", env!("CARGO_PKG_VERSION")))
        .build();
    built.map_err(|error| {
        Failure::refused(
            format!("the HTTPS client cannot start: {error}"),
            "install the system's certificates (ca-certificates)",
        )
    })
}

impl<'a> Aws<'a> {
    /// Reads nothing yet.
    ///
    /// # Errors
    /// As for [`http_client`].
    pub fn new(global: &'a Global, output: &'a Output) -> Outcome<Self> {
        Ok(Self { global, output, http: http_client()?, config: OnceCell::new(), credentials: OnceCell::new() })
    }

    async fn config(&self) -> &SdkConfig {
        self.config
            .get_or_init(|| async {
                let mut loader = aws_config::defaults(BehaviorVersion::latest());
                if let Some(profile) = &self.global.profile {
                    loader = loader.profile_name(profile);
                }
                if let Some(region) = &self.global.region {
                    loader = loader.region(Region::new(region.clone()));
                }
                loader.load().await
            })
            .await
    }

    /// Returns the region.
    ///
    /// # Errors
    /// None is set.
    pub async fn region(&self) -> Outcome<String> {
        let region = self.config().await.region().map(ToString::to_string);
        region.ok_or_else(|| Failure::usage("no region is set", "add --region, or set AWS_REGION"))
    }

    /// Returns the credentials.
    ///
    /// # Errors
    /// None are found, or the source of them failed.
    pub async fn credentials(&self) -> Outcome<&Credentials> {
        self.credentials
            .get_or_try_init(|| async {
                let failed = |cause: String| {
                    let next = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add --profile; for SSO: eval \"$(aws configure export-credentials --format env)\"";
                    Failure::refused(format!("no AWS credentials: {cause}"), next)
                };
                let provider = self.config().await.credentials_provider();
                let provider = provider.ok_or_else(|| failed("no source is configured".to_owned()))?;
                provider.provide_credentials().await.map_err(|error| failed(chain(&error)))
            })
            .await
    }

    /// Returns the URL of a service: that of `--endpoint-url`, of the environment, or of AWS.
    ///
    /// # Errors
    /// No region is set.
    pub async fn service_url(&self, service: &str) -> Outcome<String> {
        let config = self.config().await;
        if let Some(url) = self.global.endpoint_url.as_deref().or(config.endpoint_url()) {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let region = self.region().await?;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Ok(format!("https://{service}.{region}.{suffix}"))
    }

    /// Signs a request and sends it.
    ///
    /// # Errors
    /// There are no credentials, or no answer.
    pub async fn send(&self, request: Unsigned<'_>) -> Outcome<Answer> {
        let region = self.region().await?;
        let identity = self.credentials().await?.clone().into();
        let unfit = |what: &str| {
            Failure::refused(format!("the request cannot be signed: {what}"), "check the URL and the options")
        };
        let params = SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(request.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| unfit("a parameter is missing"))?;
        let headers = request.headers.iter().copied();
        let signable =
            SignableRequest::new(request.method.as_str(), request.url, headers, SignableBody::Bytes(&request.body))
                .map_err(|_| unfit("its URL is invalid"))?;
        let (instructions, _) = sign(signable, &params.into()).map_err(|_| unfit("its URL is invalid"))?.into_parts();
        let (signed, _) = instructions.into_parts();
        let mut call = self.http.request(request.method.clone(), request.url);
        for (name, value) in request.headers {
            call = call.header(*name, *value);
        }
        for header in signed {
            let value = HeaderValue::from_str(header.value()).map_err(|_| unfit("a header is not ASCII"))?;
            call = call.header(HeaderName::from_static(header.name()), value);
        }
        self.fetch(call.body(request.body), request.method.as_str(), request.url).await
    }

    /// Gets a public URL, without a signature.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, url: &str) -> Outcome<Answer> {
        self.fetch(self.http.get(url), "GET", url).await
    }

    async fn fetch(&self, call: reqwest::RequestBuilder, method: &str, url: &str) -> Outcome<Answer> {
        let begin = std::time::Instant::now();
        let failed = |error: &reqwest::Error| no_answer(error, url);
        let response = call.send().await.map_err(|error| failed(&error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(|error| failed(&error))?.to_vec();
        self.output.say_verbosely(&format!(
            "{method} {url} → {status}, {} ms, {} bytes",
            begin.elapsed().as_millis(),
            body.len()
        ));
        Ok(Answer { status, headers, body })
    }
}

fn no_answer(error: &reqwest::Error, url: &str) -> Failure {
    let host =
        url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| url.to_owned());
    if error.is_timeout() {
        return Failure::timed_out(
            format!("`{host}` did not answer in time"),
            "try again; see --verbose for the request",
        );
    }
    let next =
        "check the network, the region and the stack's name; on the local stack: `make up`, and load .local/stack.env";
    Failure::refused(format!("`{host}` cannot be reached: {}", chain(error)), next)
}

/// Returns an error with its causes, each once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
