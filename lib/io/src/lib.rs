//! Adapters that connect `signpost-core` and `signpost-engine` to DynamoDB, SQS, KMS, HTTPS receivers, settings and logs.
//!
//! # Folders
//!
//! - [`runtime`]: settings, the clock, logs, and requests from API Gateway. It makes no calls.
//! - [`aws`]: the SDK's settings, the error type of its calls, and one call for a whole batch (`dynamodb:BatchGetItem`,
//!   `dynamodb:PartiQLInsert`).
//! - [`queue`]: SQS (`sqs:SendMessage`, `sqs:ReceiveMessage`, `sqs:DeleteMessage`, `sqs:ChangeMessageVisibility`).
//! - [`vault`], [`mac`]: secrets sealed with tenants' key pairs (`kms:GenerateDataKeyPairWithoutPlaintext`, `kms:Decrypt`)
//!   and MACs of key items (`kms:GenerateMac`, `kms:VerifyMac`).
//! - [`tables`]: one module per kind of item in DynamoDB (`dynamodb:GetItem`, `PutItem`, `UpdateItem`, `DeleteItem`,
//!   `Query`).
//! - [`http`]: sends webhooks and requests access tokens; the only folder that connects to receivers.
//! - [`endpoint_secrets`], [`signer_cache`]: what a warm environment needs to authenticate to receivers and to sign.
//! - [`ports`]: all of these as the ports of `signpost-engine`.

pub mod aws;
pub mod endpoint_secrets;
pub mod http;
pub mod mac;
pub mod ports;
pub mod queue;
pub mod runtime;
pub mod signer_cache;
pub mod tables;
pub mod vault;
