//! The engine's ports on AWS.

use signpost_engine::ports::Ports;

use crate::aws::AwsError;
use crate::http::webhook_sender::WebhookSender;
use crate::queue::Queue;
use crate::runtime::clock::{SystemClock, ThreadRandom};
use crate::signer_cache::Signers;
use crate::tables::breakers::Breakers;
use crate::tables::deliveries::Deliveries;
use crate::tables::delivery_list::Listing;
use crate::tables::endpoints::Endpoints;
use crate::tables::events::Events;
use crate::tables::limits::Limits;
use crate::tables::parking::Parking;
use crate::tables::replays::Replays;
use crate::tables::states::States;
use crate::tables::subscriptions::Subscriptions;
use crate::tables::tenant_erasures::TenantErasures;
use crate::tables::token_requests::TokenRequests;
use crate::vault::Vault;

/// DynamoDB, SQS and KMS, receivers over HTTPS, and the clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Aws;

impl Ports for Aws {
    type Error = AwsError;
    type Clock = SystemClock;
    type Random = ThreadRandom;
    type Queue = Queue;
    type Breakers = Breakers;
    type Deliveries = Deliveries;
    type DeliveryLists = Listing;
    type Endpoints = Endpoints;
    type Events = Events;
    type Limits = Limits;
    type Parking = Parking;
    type Replays = Replays;
    type States = States;
    type Subscriptions = Subscriptions;
    type TenantErasures = TenantErasures;
    type TokenRequests = TokenRequests;
    type Secrets = Vault;
    type Signers = Signers;
    type Webhooks = WebhookSender;
}
