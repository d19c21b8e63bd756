//! `fanout` for a tenant with as many endpoints as it may have, of which one wants each event.

use aws_sdk_dynamodb::Client;
use signpost_core::endpoint::quota::MAX_ENDPOINTS;
use signpost_core::endpoint::{Endpoint, EndpointId, TypeFilter};
use signpost_core::event::TenantId;
use signpost_engine::ports::endpoints::StoredEndpoint;
use signpost_io::tables::endpoints::Endpoints;
use uuid::Uuid;

use crate::aws::EVENTS;
use crate::dynamodb::ENDPOINTS;
use crate::path::{Measured, WARM_UP, batch_of, measure_function, taken};
use crate::world::{World, event, request, sdk};

const TENANT: &str = "many-endpoints";
const PAYLOAD_BYTES: usize = 500;
const MEASURED: usize = 3_000;

/// Measures batches of one event and of ten.
pub(crate) async fn measure(world: &World) -> Vec<(usize, Measured)> {
    let table = Endpoints::new(Client::new(&sdk(&world.aws.url)), ENDPOINTS.into());
    let tenant = TenantId::parse(TENANT).expect("letters and hyphens");
    for index in 0..MAX_ENDPOINTS {
        let kind = if index == 0 { "operation".to_owned() } else { format!("type-{index}") };
        let settings = Endpoint { types: vec![TypeFilter::of(kind)], ..Endpoint::new(world.receiver.url()) };
        let stored = StoredEndpoint {
            settings,
            verified_origin: None,
            disabled: None,
            version: 1,
            created_at: 0,
            updated_at: 0,
            auth_secret: None,
            trusted: None,
            signing_secrets: Vec::new(),
        };
        table.put(&tenant, &EndpointId::new(Uuid::new_v4()), &stored, None).await.expect("the table accepts it");
    }
    let mut measured = Vec::new();
    for batch in [1, 10] {
        let requests = (0..MEASURED + WARM_UP).map(|_| request(&event(TENANT, PAYLOAD_BYTES)));
        measure_function(world, "ingest", requests, 1).await;
        let records = taken(world, EVENTS, MEASURED + WARM_UP);
        let fanout = measure_function(world, "fanout", records.chunks(batch).map(batch_of), batch).await;
        taken(world, crate::aws::DELIVERIES, MEASURED + WARM_UP);
        measured.push((batch, fanout));
    }
    measured
}
