//! KMS and DynamoDB in this process, as far as the vault needs them. They count the calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::fingerprint::fingerprint;
use signpost_io::mac::MacKey;
use signpost_io::tables::sealing_keys::SealingKeys;
use signpost_io::tables::signing_keys::WrappingKey;
use signpost_io::vault::{Sealer, Vault};

/// An AWS account in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeAws(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    counts: BTreeMap<String, usize>,
    failing: Option<String>,
    /// The key pairs, by tenant, as DynamoDB's JSON.
    items: BTreeMap<String, Value>,
}

const KMS: [&str; 4] = ["Decrypt", "GenerateDataKeyPairWithoutPlaintext", "GenerateMac", "VerifyMac"];

impl FakeAws {
    pub(crate) fn sealer(&self) -> Sealer {
        Sealer::new(self.keys(), self.wrapping(), MacKey::new(self.kms(), "mac".into()))
    }

    pub(crate) fn vault(&self) -> Vault {
        Vault::new(self.keys(), self.wrapping())
    }

    fn keys(&self) -> SealingKeys {
        SealingKeys::new(aws_sdk_dynamodb::Client::new(&self.sdk()), "keys".into())
    }

    fn wrapping(&self) -> WrappingKey {
        WrappingKey::new(self.kms(), "wrapping".into())
    }

    fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.sdk())
    }

    fn sdk(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "a test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    /// Counts the calls of `operation`.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.account().counts.get(operation).copied().unwrap_or_default()
    }

    /// Counts the calls of KMS.
    pub(crate) fn kms_calls(&self) -> usize {
        KMS.into_iter().map(|operation| self.count(operation)).sum()
    }

    /// Counts all calls.
    pub(crate) fn calls(&self) -> usize {
        self.account().counts.values().sum()
    }

    /// Fails every call of `operation`, or none.
    pub(crate) fn fail(&self, operation: &str, fails: bool) {
        self.account().failing = fails.then(|| operation.to_owned());
    }

    /// Returns the item of a tenant's key pair.
    pub(crate) fn item(&self, tenant: &TenantId) -> Value {
        self.account().items[tenant.as_str()].clone()
    }

    /// Replaces the item of a tenant's key pair, as a writer of the table can.
    pub(crate) fn plant(&self, tenant: &TenantId, item: &Value) {
        self.account().items.insert(tenant.to_string(), item.clone());
    }

    /// Removes a tenant's key pair.
    pub(crate) fn remove(&self, tenant: &TenantId) {
        self.account().items.remove(tenant.as_str());
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, operation: &str, body: &Value) -> Result<Value, &'static str> {
        let mut account = self.account();
        *account.counts.entry(operation.to_owned()).or_default() += 1;
        if account.failing.as_deref() == Some(operation) {
            return Err("KMSInternalException");
        }
        let decoded = |name: &str| BASE64.decode(body[name].as_str().unwrap_or_default()).unwrap_or_default();
        let tenant = |key: &Value| key["tenant"]["S"].as_str().unwrap_or_default().to_owned();
        let context = body["EncryptionContext"].to_string().into_bytes();
        match operation {
            "GenerateDataKeyPairWithoutPlaintext" => {
                assert_eq!(body["KeyPairSpec"], "ECC_NIST_P256");
                let (public, private) = pair();
                let wrapped = [&context[..], b"\0", &private].concat();
                Ok(json!({
                    "KeyId": "wrapping", "KeyPairSpec": "ECC_NIST_P256", "PublicKey": BASE64.encode(public),
                    "PrivateKeyCiphertextBlob": BASE64.encode(wrapped),
                }))
            }
            "Decrypt" => {
                let blob = decoded("CiphertextBlob");
                let private = blob.strip_prefix(&*context).and_then(|rest| rest.strip_prefix(b"\0"));
                let private = private.ok_or("InvalidCiphertextException")?;
                Ok(json!({"KeyId": "wrapping", "Plaintext": BASE64.encode(private)}))
            }
            "GenerateMac" => Ok(json!({"KeyId": "mac", "Mac": BASE64.encode(mac(&decoded("Message")))})),
            "VerifyMac" if decoded("Mac") == mac(&decoded("Message")) => Ok(json!({"KeyId": "mac", "MacValid": true})),
            "VerifyMac" => Err("KMSInvalidMacException"),
            "GetItem" => {
                Ok(account.items.get(&tenant(&body["Key"])).map_or_else(|| json!({}), |item| json!({"Item": item})))
            }
            "PutItem" => {
                assert_eq!(body["ConditionExpression"], "attribute_not_exists(tenant)");
                let tenant = tenant(&body["Item"]);
                if account.items.contains_key(&tenant) {
                    return Err("ConditionalCheckFailedException");
                }
                account.items.insert(tenant, body["Item"].clone());
                Ok(json!({}))
            }
            _ => panic!("`{operation}` is not played"),
        }
    }
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let operation = target.rsplit('.').next().unwrap_or_default();
            let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
            tokio::task::yield_now().await; // Others call meanwhile.
            let (status, body) = match aws.answer(operation, &body) {
                Ok(answer) => (200, answer),
                Err(kind) => (400, json!({"__type": kind})),
            };
            Ok(HttpResponse::new(status.try_into().unwrap(), body.to_string().into()))
        })
    }
}

fn mac(message: &[u8]) -> Vec<u8> {
    fingerprint([b"only KMS knows this", message]).to_vec()
}

/// Makes a key pair as KMS does: `SubjectPublicKeyInfo` and PKCS#8, both in DER.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let key = PrivateKey::generate(&ECDH_P256).unwrap();
    let public: PublicKeyX509Der<'_> = key.compute_public_key().unwrap().as_der().unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    (public.as_ref().to_vec(), private.as_ref().to_vec())
}
