//! Common parts of all AWS adapters: the SDK's settings, the error type of its calls, and readers of item attributes.

pub(crate) mod batch_delete;
pub(crate) mod batch_get;
pub(crate) mod batch_insert;
pub(crate) mod coalesce;
pub(crate) mod compression;
mod metered;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_http_client::ConnectorBuilder;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use signpost_core::form::{self, NewerForm};

use crate::runtime::metrics::meter;
use metered::Metered;

/// An item of a table, or an item's map.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Loads region, credentials and endpoint in the SDK's usual order. In Lambda they are environment variables, so this
/// makes no call.
///
/// Every call ends after [`CALL_TIMEOUT`], retries included. Without this, a service that hangs would use up the time
/// of an invocation, and so of a whole batch.
pub async fn load() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(TRY_TIMEOUT).operation_timeout(CALL_TIMEOUT);
    let defaults = aws_config::defaults(BehaviorVersion::latest());
    defaults.http_client(SharedHttpClient::new(Http::new())).timeout_config(timeouts.build()).load().await
}

/// The SDK's default HTTP client, shared by all services and created at the first use. Requests that fail are counted.
///
/// By default, each service's client loads the system's certificates when it is created, only as a check, and again for
/// its first call.
#[derive(Debug)]
struct Http(SharedHttpClient);

impl Http {
    fn new() -> Self {
        Self(aws_smithy_http_client::Builder::new().build_with_connector_fn(|settings, components| {
            let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        }))
    }
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.0.http_connector(settings, components);
        SharedHttpConnector::new(Metered { inner, meter: meter().clone() })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

/// The timeout of one call. `deliver` makes at most eight calls in sequence, besides 30 s for the attempt and 12 s of
/// preparation, within its 90 s.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// The timeout of one try of a call. Tables, queues and KMS usually answer within milliseconds.
const TRY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Why AWS did not do what was asked: an internal error, never charged to an endpoint.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsError {
    /// A call failed after the SDK's retries. The same call may succeed later, unless the role lacks a permission.
    #[error("`{operation}` failed after the SDK's retries")]
    Call {
        /// The call, as IAM spells it.
        operation: &'static str,
        /// The SDK's error. All callers of one coalesced call share it.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// An item was written by hand, or by another version. Every reading of it fails until an operator repairs or removes it.
    #[error("the stored {item} cannot be read; repair its item in DynamoDB, or remove it")]
    CorruptItem {
        /// The thing that the item holds.
        item: &'static str,
        /// The fault of the item.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A newer release wrote an item. Every reading of it fails until that release is deployed again.
    #[error("the stored {item} cannot be read by this release; leave its item as it is")]
    NewerItem {
        /// The thing that the item holds.
        item: &'static str,
        /// The form of the item.
        source: NewerForm,
    },
}

impl AwsError {
    /// Returns a constructor of [`Self::Call`]; `operation` names the call as IAM spells it.
    pub fn of<E: Error + Send + Sync + 'static>(operation: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Call { operation, source: Arc::new(source) }
    }

    /// Returns a constructor of [`Self::CorruptItem`]; `item` is a noun, such as `delivery`.
    pub fn corrupt<E: Error + Send + Sync + 'static>(item: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::CorruptItem { item, source: Arc::new(source) }
    }
}

/// Returns the answer to a conditional write to DynamoDB; `None` if its condition did not hold.
pub(crate) fn if_condition_held<T, E>(
    sent: Result<T, SdkError<E>>,
    operation: &'static str,
) -> Result<Option<T>, AwsError>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match sent {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(None),
        Err(error) => Err(AwsError::of(operation)(error)),
    }
}

/// An item of a table with an unexpected form, written by hand or by another version.
#[derive(Debug, thiserror::Error)]
#[error("attribute `{attribute}` is missing, or has another form")]
pub(crate) struct ItemError {
    attribute: &'static str,
}

/// Reads the text of attribute `name`.
pub(crate) fn text<'a>(item: &'a Item, name: &'static str) -> Result<&'a str, ItemError> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or(ItemError { attribute: name })
}

/// Reads the whole number of attribute `name`.
pub(crate) fn number(item: &Item, name: &'static str) -> Result<u64, ItemError> {
    let digits = item.get(name).and_then(|value| value.as_n().ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or(ItemError { attribute: name })
}

/// Reads the bytes of attribute `name`.
pub(crate) fn bytes<'a>(item: &'a Item, name: &'static str) -> Result<&'a [u8], ItemError> {
    item.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref).ok_or(ItemError { attribute: name })
}

/// Reads attribute `name` by `read`; none if the item does not have it.
pub(crate) fn optional<'a, T>(
    item: &'a Item,
    name: &'static str,
    read: impl FnOnce(&'a Item, &'static str) -> Result<T, ItemError>,
) -> Result<Option<T>, ItemError> {
    item.contains_key(name).then(|| read(item, name)).transpose()
}

/// Refuses an item that only a newer release can read ([`form`]); `name` is a noun, such as `endpoint`.
pub(crate) fn check_form(item: &Item, name: &'static str) -> Result<(), AwsError> {
    let spelled = item.get(form::MEMBER).map(|value| value.as_n().map_or("", String::as_str));
    form::check(spelled).map_err(|source| AwsError::NewerItem { item: name, source })
}

/// Returns the error for an attribute with an invalid value.
pub(crate) fn unreadable(attribute: &'static str) -> ItemError {
    ItemError { attribute }
}

/// Makes a text attribute.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// Makes a number attribute.
#[expect(clippy::needless_pass_by_value, reason = "called with literals and sums, which read better without `&`")]
pub(crate) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
