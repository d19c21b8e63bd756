//! The timetable of signing keys, for integrators who cache them.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use futures_util::future::try_join_all;
use manage::{Answer, jwks_url};
use serde_json::{Value, json};
use signpost_core::event::TenantId;
use signpost_core::portal::Link;
use signpost_core::signing::algorithm::Algorithm;
use signpost_core::signing::key_rotation::{KeyMoments, KeyPhase, KeySchedule, standing};
use signpost_core::signing::kid;
use signpost_io::runtime::api_gateway::respond;
use signpost_io::runtime::clock::{rfc3339, unix_now};
use signpost_io::tables::signing_keys::StoredKey;

use crate::{App, JSON};

impl App {
    /// Shows where the keys are, when each of them signs, and the addresses that webhooks come from.
    pub(crate) async fn read_keys(&self, link: &Link, request: &ApiGatewayV2httpRequest) -> Answer {
        let lines = try_join_all(Algorithm::ALL.map(|algorithm| self.keys.line(algorithm))).await?;
        let now = unix_now().as_secs();
        let keys: Vec<_> = lines.iter().flat_map(|line| timetable(&line.keys, &link.tenant, now)).collect();
        let body = json!({
            "jwksUrl": jwks_url(link, request, &self.manage), "keys": keys, "rotation": self.rotation,
            "egressAddresses": self.egress_addresses,
        });
        Ok(respond(200, JSON, body.to_string()))
    }
}

/// Returns the keys of one algorithm that verifiers can fetch, under the tenant's kids.
fn timetable(keys: &[StoredKey], tenant: &TenantId, now: u64) -> Vec<Value> {
    let moments: Vec<KeyMoments> = keys.iter().map(|key| key.moments).collect();
    let shown = |(key, phase): (&StoredKey, KeyPhase)| {
        let KeyMoments { published_at, sign_from, sign_until, verify_until } = key.moments;
        let (state, removed_at) = match phase {
            KeyPhase::Forgotten => return None,
            KeyPhase::Next => ("published", verify_until),
            KeyPhase::Current => ("in use", verify_until),
            KeyPhase::Retiring { verify_until } => ("ended", verify_until),
        };
        let mut shown = json!({
            "kid": kid::of_signing_key(key.public.id(), tenant), "alg": key.public.algorithm().as_str(),
            "state": state, "publishedAt": moment(published_at), "usedFrom": moment(sign_from),
        });
        // A key whose successor is late signs longer than planned. Nobody knows until when.
        if sign_until > now || phase != KeyPhase::Current {
            shown["usedUntil"] = moment(sign_until);
            shown["removedAt"] = moment(removed_at);
        }
        Some(shown)
    };
    keys.iter().zip(standing(&moments, now)).filter_map(shown).collect()
}

/// Returns how keys rotate, in words.
pub(crate) fn rotation(schedule: &KeySchedule) -> String {
    let [lead, signing, grace] = [schedule.lead, schedule.signing, schedule.grace].map(|time| time.as_secs() / 60);
    format!(
        "A key is published {lead} minutes before it signs, signs for {signing} minutes, and stays published for {grace} \
         minutes more."
    )
}

fn moment(unix_seconds: u64) -> Value {
    rfc3339(unix_seconds.saturating_mul(1_000)).into()
}
