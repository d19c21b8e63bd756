//! `fanout` for a tenant with as many endpoints as it may have, of which one or all want each event.

use aws_sdk_dynamodb::Client;
use signpost_core::endpoint::quota::MAX_ENDPOINTS;
use signpost_core::endpoint::{Endpoint, EndpointId, TypeFilter};
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::tables::endpoints::Endpoints;
use uuid::Uuid;

use crate::aws::{DELIVERIES, EVENTS};
use crate::dynamodb::ENDPOINTS;
use crate::path::{Measured, WARM_UP, batch_of, measure_function, taken};
use crate::world::{World, event, request, sdk};

const PAYLOAD_BYTES: usize = 500;

/// One case: how many of the endpoints want each event, the size of a batch, and the number of measured events.
const CASES: [(u64, usize, usize); 3] = [(1, 1, 3_000), (1, 10, 3_000), (MAX_ENDPOINTS, 10, 100)];

/// Measures all cases. Returns how many endpoints want each event, the size of a batch, and the figures.
pub(crate) async fn measure(world: &World) -> Vec<(u64, usize, Measured)> {
    let mut measured = Vec::new();
    for (wanting, batch, events) in CASES {
        let (tenant, events) = (tenant_of(world, wanting, batch).await, events + WARM_UP);
        let requests = (0..events).map(|_| request(&event(tenant.as_str(), PAYLOAD_BYTES)));
        measure_function(world, "ingest", requests, 1).await;
        let records = taken(world, EVENTS, events);
        let fanout = measure_function(world, "fanout", records.chunks(batch).map(batch_of), batch).await;
        taken(world, DELIVERIES, events * usize::try_from(wanting).expect("a thousand"));
        measured.push((wanting, batch, fanout));
    }
    measured
}

/// Creates a tenant of which so many endpoints want each event.
async fn tenant_of(world: &World, wanting: u64, batch: usize) -> TenantId {
    let table = Endpoints::new(Client::new(&sdk(&world.aws.url)), ENDPOINTS.into());
    let tenant = TenantId::parse(&format!("many-{wanting}-{batch}")).expect("letters, digits and hyphens");
    for index in 0..MAX_ENDPOINTS {
        let kind = if index < wanting { "operation".to_owned() } else { format!("type-{index}") };
        let settings = Endpoint { types: vec![TypeFilter::of(kind)], ..Endpoint::new(world.receiver.url()) };
        let stored = StoredEndpoint::new(settings, 0);
        table.put(&tenant, &EndpointId::new(Uuid::new_v4()), &stored, None).await.expect("the table accepts it");
    }
    tenant
}
