//! Everything outside of the engine: tables, queues, receivers, keys, time and chance.
//!
//! `signpost-io` implements these traits with DynamoDB, SQS, KMS and HTTPS. The simulation in `tests/` implements them
//! in memory, with the failures of the real ones. All are resolved at compile time.

pub mod clock;
pub mod deliveries;
pub mod endpoints;
pub mod events;
pub mod limits;
pub mod parking;
pub mod queue;
pub mod replays;
pub mod subscriptions;
pub mod tenant_erasures;
pub mod token_requests;
pub mod webhooks;

use std::error::Error;

/// The ports of one environment. The tables and queues of one environment fail in the same way.
pub trait Ports {
    /// The reason why a call to a table or a queue failed: an internal error, never charged to an endpoint.
    type Error: Error + 'static;

    /// Time.
    type Clock: clock::Clock;
    /// Chance.
    type Random: clock::Random;
    /// The queues.
    type Queue: queue::Queue<Error = Self::Error>;

    /// The breakers, in `ParkingTable`.
    type Breakers: limits::Breakers<Error = Self::Error>;
    /// The records of deliveries, in `EventsTable`.
    type Deliveries: deliveries::Deliveries<Error = Self::Error>;
    /// The lists of deliveries, in `EventsTable`.
    type DeliveryLists: replays::DeliveryLists<Error = Self::Error>;
    /// `EndpointsTable`.
    type Endpoints: endpoints::Endpoints<Error = Self::Error>;
    /// `EventsTable`.
    type Events: events::Events<Error = Self::Error>;
    /// The slots and counts in `ParkingTable`.
    type Limits: limits::Limits<Error = Self::Error>;
    /// `ParkingTable`.
    type Parking: parking::Parking<Error = Self::Error>;
    /// The bulk replays, in `ParkingTable`.
    type Replays: replays::Replays<Error = Self::Error>;
    /// The states of subjects, in `EventsTable`.
    type States: events::States<Error = Self::Error>;
    /// The subscriptions, in `EndpointsTable`.
    type Subscriptions: subscriptions::Subscriptions<Error = Self::Error>;
    /// The erasures of tenants, in `ParkingTable`.
    type TenantErasures: tenant_erasures::TenantErasures<Error = Self::Error>;
    /// `TokenRequestsTable`.
    type TokenRequests: token_requests::TokenRequests<Error = Self::Error>;

    /// The secrets of endpoints.
    type Secrets: endpoints::Secrets;
    /// The signing keys.
    type Signers: webhooks::Signers;
    /// The way to receivers.
    type Webhooks: webhooks::Webhooks<Access = Access<Self>>;
}

/// How the sender authenticates to a receiver.
pub type Access<P> = <<P as Ports>::Secrets as endpoints::Secrets>::Access;
