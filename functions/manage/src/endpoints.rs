//! The operators' routes for endpoints.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lc_rs::rand;
use futures_util::future::try_join_all;
use http::header::{ETAG, LOCATION};
use serde_json::{Value, json};
use signpost_core::delivery::verification::{Proof, Question, after_change, after_disabling, after_enabling, state};
use signpost_core::endpoint::auth::Auth;
use signpost_core::endpoint::quota::settings_bytes;
use signpost_core::endpoint::settings::{self, Context, Rotation, Stored, Submission};
use signpost_core::endpoint::signing_secrets::{SecretVersion, rotate};
use signpost_core::endpoint::{DisabledBecause, Endpoint, EndpointId, SignatureFormat, TEST_TYPE, VERIFICATION_TYPE};
use signpost_core::event::{Event, OWN_SOURCE, TenantId};
use signpost_core::fingerprint::{fingerprint, hexadecimal};
use signpost_core::input::fault::Fault;
use signpost_core::input::problem::Problem;
use signpost_core::signing::standard_webhooks::EndpointKeys;
use signpost_engine::ports::endpoints::Endpoints as _;
use signpost_engine::ports::endpoints::{SealedKeys, StoredEndpoint, Written};
use signpost_engine::ports::parking::Parking as _;
use signpost_engine::ports::queue::Message;
use signpost_engine::ports::queue::Queue as _;
use signpost_io::aws::AwsError;
use signpost_io::runtime::api_gateway::{empty, respond, with_header};
use signpost_io::runtime::clock::{rfc3339, unix_now};
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::endpoint_keys::EndpointKey;
use signpost_io::tables::endpoint_keys::KEYS_OUTLIVE_SECONDS;
use signpost_io::tables::endpoints::{Page, PutResult};
use signpost_io::vault::{Purpose, SealContext};
use uuid::Uuid;

use crate::api_request::{ApiRequest, changed_meanwhile, no_such_endpoint};
use crate::holds::ShownHold;
use crate::notices::{check_types, purpose};
use crate::update::{shown_tag, tag};
use crate::{Answer, App, Refusal};

pub(crate) const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// How many endpoints a page of the list may have.
const MAX_PAGE: i32 = 100;

/// How many bytes of a MAC are in an `ExternalId`: 128 bits, too many to guess.
const EXTERNAL_ID_BYTES: usize = 16;

/// How long a host's name may take to resolve while its endpoint is created or changed.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

impl App {
    pub(crate) async fn create(&self, asked: &ApiRequest<'_>) -> Answer {
        let submission = self.submission(&asked.tenant, &asked.body(&[JSON])?, None).await?;
        let id = EndpointId::new(Uuid::new_v4());
        self.create_as(asked, &id, submission, &asked.path_of(&id)).await
    }

    /// Creates an endpoint under an id that no endpoint of the tenant has yet.
    pub(crate) async fn create_as(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        submission: Submission,
        location: &str,
    ) -> Answer {
        self.refuse_while_erased(asked).await?;
        // Before KMS and the keys, which a refused endpoint does not need. The write itself checks it again.
        let usage = self.subscriptions.usage(&asked.tenant).await?;
        usage
            .check_new(settings_bytes(&submission.endpoint, submission.trusted.as_deref()))
            .map_err(|full| Problem::conflict(full.to_string()))?;
        let now = unix_now().as_secs();
        let (keys, sealed) = self.new_keys(&asked.tenant, id).await?;
        let auth_secret = self.sealed_auth(&asked.tenant, id, &submission).await?;
        let must_prove = self.proof(&submission.endpoint, None).is_missing();
        let stored = StoredEndpoint {
            auth_secret,
            disabled: must_prove.then_some(DisabledBecause::Unverified),
            trusted: submission.trusted,
            signing_secrets: vec![SecretVersion::new(sealed, now)],
            ..StoredEndpoint::new(submission.endpoint, now)
        };
        self.publish_keys(&asked.tenant, id, &stored).await?; // Before the keys can sign.
        asked.trail.endpoint(id, None, Some(&stored)); // Before the write, whose answer may get lost.
        let refused = match self.endpoints.put(&asked.tenant, id, &stored, None).await? {
            PutResult::Written => None,
            PutResult::Full(full) => Some((full.to_string(), None)),
            PutResult::Overtaken => match self.endpoints.get(&asked.tenant, id).await? {
                // This call has written it, and its answer got lost.
                Some(found) if found.signing_secrets == stored.signing_secrets => None,
                found => {
                    let newest = found.and_then(|found| Some(found.signing_secrets.last()?.secret.public_key));
                    Some(("somebody else creates it at the same time; send the request again".into(), newest))
                }
            },
        };
        if let Some((detail, kept)) = refused {
            if let Err(error) = self.endpoint_keys.expire_but(&asked.tenant, id, kept.as_ref(), now).await {
                // The keys sign nothing, and stay published.
                tracing::warn!(endpoint.id = %id, error = %Chain(&error), "endpoint.keys_not_expired");
            }
            return Err(Problem::conflict(detail).into());
        }
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, "endpoint.created");
        self.try_to_ask_for_proof(asked, id, &stored).await;
        let answer = self.answer_with_secret(201, asked, id, &stored, None, &keys);
        Ok(with_header(answer, LOCATION, location))
    }

    pub(crate) async fn list(&self, asked: &ApiRequest<'_>) -> Answer {
        let (limit, after) = asked.page_by_endpoint(MAX_PAGE)?;
        let page = match asked.only() {
            None => self.endpoints.page(&asked.tenant, after.as_ref(), limit).await?,
            Some(only) => self.page_of(asked, only, after.as_ref(), limit).await?,
        };
        let held = self.held_of_all(&page.endpoints).await?;
        let endpoints = page.endpoints.iter().zip(&held);
        let endpoints = endpoints.map(|((id, stored), held)| self.shown(asked, id, stored, held.as_ref()));
        let mut body = json!({ "endpoints": endpoints.collect::<Vec<_>>() });
        if let Some(next) = page.next {
            body["cursor"] = next.as_str().into();
        }
        Ok(respond(200, JSON, body.to_string()))
    }

    /// Reads a page of the endpoints that a link names, in the order of their ids. Endpoints that do not exist are left out.
    async fn page_of(
        &self,
        asked: &ApiRequest<'_>,
        only: &BTreeSet<EndpointId>,
        after: Option<&EndpointId>,
        limit: i32,
    ) -> Result<Page, AwsError> {
        let mut rest = only.iter().filter(|id| after.is_none_or(|after| *id > after));
        let ids: Vec<_> = rest.by_ref().take(usize::try_from(limit).unwrap_or_default()).collect();
        let next = rest.next().and(ids.last()).map(|last| (*last).clone());
        let read = ids.into_iter().map(async |id| match self.endpoints.get(&asked.tenant, id).await {
            Ok(stored) => Ok(stored.map(|stored| (id.clone(), stored))),
            Err(AwsError::CorruptItem { .. }) => Ok(None), // Left out, as in the list of an operator.
            Err(error) => Err(error),
        });
        Ok(Page { endpoints: try_join_all(read).await?.into_iter().flatten().collect(), next })
    }

    pub(crate) async fn read(&self, asked: &ApiRequest<'_>) -> Answer {
        self.read_one(asked, &asked.endpoint()?).await
    }

    /// Shows an endpoint.
    pub(crate) async fn read_one(&self, asked: &ApiRequest<'_>, id: &EndpointId) -> Answer {
        let stored = self.stored(asked, id).await?;
        let held = self.held(id, &stored).await?;
        let tag = shown_tag(&stored, held.as_ref());
        if asked.has(&tag) {
            return Ok(with_header(empty(304), ETAG, &tag));
        }
        Ok(with_header(respond(200, JSON, self.shown(asked, id, &stored, held.as_ref()).to_string()), ETAG, &tag))
    }

    pub(crate) async fn update(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = asked.endpoint()?;
        let patch = asked.body(&[MERGE_PATCH, JSON])?;
        let submitted = async |stored: &StoredEndpoint| -> Result<Submission, Refusal> {
            let whole = settings::patched(&stored.settings, stored.trusted.as_deref(), &patch);
            let submission =
                self.submission(&asked.tenant, &whole.map_err(Problem::bad_request)?, Some(stored)).await?;
            check_types(asked, &id, &submission)?;
            Ok(submission)
        };
        Box::pin(self.update_to(asked, &id, submitted)).await
    }

    /// Changes an endpoint to settings that may depend on its present ones.
    pub(crate) async fn update_to(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        submitted: impl AsyncFn(&StoredEndpoint) -> Result<Submission, Refusal>,
    ) -> Answer {
        let version_before = AtomicU64::new(0);
        let change = async |stored: StoredEndpoint| -> Result<StoredEndpoint, Refusal> {
            version_before.store(stored.version, Ordering::Relaxed);
            let submission = submitted(&stored).await?;
            let sealed = self.sealed_auth(&asked.tenant, id, &submission).await?;
            let kept = stored.auth_secret.clone().filter(|_| submission.endpoint.auth != Auth::None);
            let (settings, trusted) = (submission.endpoint, submission.trusted);
            let had_keys = signs_by_itself(&stored);
            let proof = self.proof(&settings, stored.verified_origin.as_deref());
            let disabled = after_change(stored.disabled, &stored.settings, proof);
            if stored.disabled.is_some() && disabled.is_none() {
                self.parking.ask_to_drain_now(&asked.tenant, id).await?; // Before it is enabled, as in `switch`.
            }
            let changed = StoredEndpoint { settings, trusted, disabled, auth_secret: sealed.or(kept), ..stored };
            if !had_keys {
                self.publish_keys(&asked.tenant, id, &changed).await?; // Before the keys can sign.
            }
            Ok(changed)
        };
        let stored = self.change(asked, id, change).await?;
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, "endpoint.updated");
        if stored.version != version_before.into_inner() {
            self.try_to_ask_for_proof(asked, id, &stored).await; // A challenge is valid for one version.
        }
        self.answer(asked, id, &stored).await
    }

    pub(crate) async fn delete(&self, asked: &ApiRequest<'_>) -> Answer {
        self.delete_one(asked, &asked.endpoint()?).await
    }

    /// Removes an endpoint.
    pub(crate) async fn delete_one(&self, asked: &ApiRequest<'_>, id: &EndpointId) -> Answer {
        let stored = match self.endpoints.get(&asked.tenant, id).await {
            Ok(None) => return Err(no_such_endpoint().into()),
            Ok(Some(stored)) => Some(stored),
            Err(AwsError::CorruptItem { .. }) if !asked.has_condition() => None, // It can be removed all the same.
            Err(error) => return Err(error.into()),
        };
        let before = match &stored {
            Some(stored) if asked.has_condition() => {
                asked.check_condition(&tag(stored))?;
                Some(stored.version)
            }
            _ => None,
        };
        asked.trail.endpoint(id, stored.as_ref(), None);
        // The drain sends the parked deliveries to the dead-letter queue, with the reason that the endpoint is gone. It
        // is requested first, because a repetition of a half-done request would find no endpoint to delete.
        self.parking.ask_to_drain_now(&asked.tenant, id).await?;
        self.parking.note_removed(&asked.tenant, id).await?; // So that an erasure of the tenant finds its deliveries.
        match (self.endpoints.delete(&asked.tenant, id, before).await?, before) {
            (Written::Yes, _) => {
                let expires_at = unix_now().as_secs() + KEYS_OUTLIVE_SECONDS;
                if let Err(error) = self.endpoint_keys.expire(&asked.tenant, id, expires_at).await {
                    // The keys sign nothing any more, and stay published.
                    tracing::warn!(endpoint.id = %id, error = %Chain(&error), "endpoint.keys_not_expired");
                }
                tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, "endpoint.deleted");
                Ok(empty(204))
            }
            (Written::Overtaken, None) => Err(no_such_endpoint().into()),
            (Written::Overtaken, Some(_)) => Err(changed_meanwhile().into()),
        }
    }

    pub(crate) async fn switch(&self, asked: &ApiRequest<'_>, is_enabled: bool) -> Answer {
        let id = asked.endpoint()?;
        let change = async |stored: StoredEndpoint| -> Result<_, Refusal> {
            let proof = self.proof(&stored.settings, stored.verified_origin.as_deref());
            let disabled = if is_enabled {
                after_enabling(stored.disabled, proof)
            } else {
                Some(after_disabling(stored.disabled))
            };
            Ok(StoredEndpoint { disabled, ..stored })
        };
        self.stored(asked, &id).await?; // Refuses an endpoint of another tenant before any change.
        if is_enabled {
            self.breakers.close(&id).await?; // The operator says that the endpoint is healthy.
            // After the breaker is closed: a sweep that found it open postponed an older request, not this one. Before the
            // endpoint is enabled: after a crash in between, the drain finds it disabled and moves nothing.
            self.parking.ask_to_drain_now(&asked.tenant, &id).await?;
        }
        let stored = self.change(asked, &id, change).await?;
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, endpoint.enabled = is_enabled, "endpoint.switched");
        if stored.disabled == Some(DisabledBecause::Unverified) {
            self.ask_for_proof(asked, &id, &stored).await?;
        }
        self.answer(asked, &id, &stored).await
    }

    /// Sends a test event to this endpoint only, by default one of Signpost's own type. It takes the same path as any other
    /// event.
    pub(crate) async fn test(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = asked.endpoint()?;
        let body = asked.optional_body(&[JSON])?;
        let kind = settings::test_type(body.as_deref()).map_err(Problem::bad_request)?;
        match self.stored(asked, &id).await?.disabled {
            None => {}
            Some(DisabledBecause::Unverified) => {
                let text = "the endpoint has not proved that it wants webhooks; enable it to ask it again";
                return Err(Problem::conflict(text).into());
            }
            Some(DisabledBecause::Failing | DisabledBecause::Gone | DisabledBecause::Operator) => {
                return Err(Problem::conflict("the endpoint is disabled; enable it first").into());
            }
        }
        let event_id = format!("test-{}", Uuid::new_v4());
        let data = match kind.as_deref() {
            None => json!({"endpoint": id.as_str(), "message": "Signpost tries this endpoint out."}).to_string(),
            Some(kind) => self.example(asked, kind).await?,
        };
        asked.trail.result(None, json!({ "event": event_id, "type": kind }));
        self.send_own(asked, &id, &event_id, kind.as_deref().unwrap_or(TEST_TYPE), &data).await?;
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, event.id = event_id, "endpoint.tested");
        Ok(respond(202, JSON, json!({ "event": event_id }).to_string()))
    }

    /// Collects what decides if an endpoint with these settings must prove that it wants webhooks.
    fn proof<'a>(&self, endpoint: &'a Endpoint, verified_origin: Option<&'a str>) -> Proof<'a> {
        Proof { stack: self.endpoint_verification, endpoint, verified_origin }
    }

    /// Asks an unverified endpoint to prove that it wants webhooks. If that fails, the endpoint stays unverified, and
    /// its operator can enable it to repeat the question.
    async fn try_to_ask_for_proof(&self, asked: &ApiRequest<'_>, id: &EndpointId, stored: &StoredEndpoint) {
        if stored.disabled != Some(DisabledBecause::Unverified) {
            return;
        }
        let cause = match self.ask_for_proof(asked, id, stored).await {
            Ok(()) => return,
            Err(Refusal::Aws(error)) => Chain(&error).to_string(),
            Err(Refusal::Problem(problem)) => problem.detail,
        };
        tracing::error!(tenant.id = %asked.tenant, endpoint.id = %id, cause, "endpoint.not_asked_for_proof");
    }

    /// Asks an endpoint to prove that it wants webhooks, by an event to this endpoint only.
    async fn ask_for_proof(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        stored: &StoredEndpoint,
    ) -> Result<(), Refusal> {
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| Problem::unavailable("no random numbers; enable the endpoint"))?;
        let question = Question::new(id, stored.version, random);
        let event_id = format!("verification-{}", Uuid::new_v4());
        self.send_own(asked, id, &event_id, VERIFICATION_TYPE, &question.data().to_string()).await?;
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, event.id = event_id, "endpoint.asked_for_proof");
        Ok(())
    }

    /// Sends an event of Signpost's own about an endpoint. It takes the same path as any other event.
    async fn send_own(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        event_id: &str,
        kind: &str,
        data: &str,
    ) -> Result<(), Refusal> {
        let attributes = json!({
            "specversion": "1.0", "id": event_id, "source": OWN_SOURCE, "type": kind,
            "tenant": asked.tenant.as_str(), "subject": id.as_str(),
        });
        // The payload is not parsed here, because its numbers would be spelled in another way.
        let event = format!("{},\"data\":{data}}}", attributes.to_string().trim_end_matches('}'));
        let event = Event::parse_own(&event).map_err(Problem::bad_request)?;
        Ok(self.own_events_queue.send_all([Message::of_event(&event)]).await?)
    }

    pub(crate) async fn rotate_secret(&self, asked: &ApiRequest<'_>) -> Answer {
        let id = asked.endpoint()?;
        let body = asked.optional_body(&[JSON])?;
        let rotation = settings::rotation(body.as_deref()).map_err(Problem::bad_request)?;
        let held = self.held(&id, &self.stored(asked, &id).await?).await?; // Before KMS, because it may not exist.
        let (keys, sealed) = self.new_keys(&asked.tenant, &id).await?;
        let change = async |stored: StoredEndpoint| -> Result<StoredEndpoint, Refusal> {
            let now = unix_now().as_secs();
            let signing_secrets = match rotation {
                Rotation::EndAllOthers => vec![SecretVersion::new(sealed.clone(), now)],
                Rotation::Overlap(overlap) => rotate(stored.signing_secrets, sealed.clone(), now, overlap)
                    .map_err(|error| Problem::conflict(error.to_string()))?,
            };
            let changed = StoredEndpoint { signing_secrets, ..stored };
            self.publish_keys(&asked.tenant, &id, &changed).await?; // Before the keys can sign.
            Ok(changed)
        };
        let stored = self.change(asked, &id, change).await?;
        if rotation == Rotation::EndAllOthers {
            // If this fails, a repetition of the request does it, because it also ends the secret that was made here.
            let now = unix_now().as_secs();
            self.endpoint_keys.expire_but(&asked.tenant, &id, Some(&sealed.public_key), now).await?;
        }
        tracing::info!(tenant.id = %asked.tenant, endpoint.id = %id, "endpoint.secret_rotated");
        self.try_to_ask_for_proof(asked, &id, &stored).await; // A challenge is valid for one version.
        Ok(self.answer_with_secret(200, asked, &id, &stored, held.as_ref(), &keys))
    }

    /// Reads settings, and resolves the hosts in them.
    pub(crate) async fn submission(
        &self,
        tenant: &TenantId,
        text: &str,
        stored: Option<&StoredEndpoint>,
    ) -> Result<Submission, Refusal> {
        let stored = stored.map(|stored| Stored { endpoint: &stored.settings, trusted: stored.trusted.as_deref() });
        let (targets, roles) = (self.guard.rules(), &self.destination_roles);
        let context = Context { targets, roles, now: unix_now().as_secs(), stored };
        let mut submission = settings::read(text, context).map_err(Problem::bad_request)?;
        if let Some(destination) = &mut submission.endpoint.destination {
            let known = stored.and_then(|stored| stored.endpoint.destination.as_ref());
            destination.external_id = match known {
                Some(known) => known.external_id.clone(),
                None => self.external_id(tenant).await?,
            };
            return Ok(submission); // Its host is one of AWS, which may have a private address.
        }
        let mut urls = vec![("/url", &submission.endpoint.url)];
        if let Auth::OAuth2(client) = &submission.endpoint.auth {
            urls.push(("/auth/tokenUrl", &client.token_url));
        }
        let mut faults = Vec::new();
        for (pointer, url) in urls {
            let Ok(target) = self.guard.rules().parse(url) else { continue }; // `settings::read` has parsed it.
            if self.guard.probe(&target, PROBE_PATIENCE).await.is_err() {
                let expected = "a host that resolves to public addresses only";
                faults.push(Fault::of_text(pointer.into(), url, expected));
            }
        }
        if faults.is_empty() { Ok(submission) } else { Err(Problem::bad_request(faults).into()) }
    }

    /// Makes the `ExternalId` with which `deliver` assumes roles for a tenant. It is a MAC under the stack's key in KMS, so
    /// it is the same for all endpoints of the tenant, and nobody can make that of another tenant or stack.
    ///
    /// Needs `kms:GenerateMac`. One call.
    async fn external_id(&self, tenant: &TenantId) -> Result<String, AwsError> {
        let mac = self.mac.generate(&fingerprint(["signpost external id", tenant.as_str()])).await?;
        let beginning: Vec<_> = mac.into_iter().take(EXTERNAL_ID_BYTES).collect();
        Ok(format!("signpost-{}", hexadecimal(beginning)))
    }

    /// Generates and seals an endpoint's own keys: a secret for `v1`, and a key pair for `v1a`.
    async fn new_keys(&self, tenant: &TenantId, id: &EndpointId) -> Result<(EndpointKeys, SealedKeys), Refusal> {
        let no_keys = || Problem::unavailable("no random numbers; send the same request again");
        let [mut secret, mut seed] = [[0; 32]; 2];
        rand::fill(&mut secret).and_then(|()| rand::fill(&mut seed)).map_err(|_| no_keys())?;
        let keys = EndpointKeys::new(secret, seed).ok_or_else(no_keys)?;
        let place = SealContext { tenant, endpoint: id, purpose: Purpose::Signing };
        let sealed = self.sealer.seal(place, &keys.written()).await?;
        let public_key = keys.public_key();
        Ok((keys, SealedKeys { sealed, public_key }))
    }

    /// Publishes the live keys of an endpoint that signs with them, each until its end.
    async fn publish_keys(
        &self,
        tenant: &TenantId,
        endpoint: &EndpointId,
        stored: &StoredEndpoint,
    ) -> Result<(), Refusal> {
        if !signs_by_itself(stored) {
            return Ok(());
        }
        let now = unix_now().as_secs();
        let live = stored.signing_secrets.iter().filter(|keys| keys.is_live(now));
        let published = live.map(async |keys| {
            // Longer than the key signs, because receivers verify a request some time after its signature.
            let expires_at = keys.expires_at.map(|at| at + KEYS_OUTLIVE_SECONDS);
            let key = EndpointKey { endpoint: endpoint.clone(), public_key: keys.secret.public_key, expires_at };
            self.endpoint_keys.publish(tenant, &key).await
        });
        try_join_all(published).await?;
        Ok(())
    }

    async fn sealed_auth(
        &self,
        tenant: &TenantId,
        id: &EndpointId,
        submission: &Submission,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(secret) = &submission.auth_secret else { return Ok(None) };
        let binding = submission.endpoint.auth.binding(&submission.endpoint.url);
        let place = SealContext { tenant, endpoint: id, purpose: Purpose::Auth(&binding) };
        Ok(Some(self.sealer.seal(place, secret).await?))
    }
}

impl App {
    /// Returns an endpoint in the form of answers.
    fn shown(
        &self,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        stored: &StoredEndpoint,
        held: Option<&ShownHold>,
    ) -> Value {
        let mut shown = settings::shown(&stored.settings, stored.trusted.as_deref());
        // Includes expired secrets until they are removed, because an answer must only change together with its `ETag`.
        let secrets = stored.signing_secrets.iter().map(|keys| {
            json!({
                "createdAt": moment(keys.created_at), "expiresAt": keys.expires_at.map(moment),
                "publicKey": keys.secret.public_key.to_string(),
            })
        });
        if let Some(destination) = shown.get_mut("destination") {
            destination["assumedBy"] = self.deliver_role_arn.as_str().into();
        }
        let newest = stored.signing_secrets.last().map(|keys| keys.secret.public_key.to_string());
        shown["id"] = id.as_str().into();
        shown["purpose"] = purpose(asked, id).into();
        shown["tenant"] = asked.tenant.as_str().into();
        shown["state"] = state(stored.disabled).into();
        shown["enabled"] = stored.disabled.is_none().into();
        shown["disabledBecause"] = stored.disabled.map(DisabledBecause::as_str).into();
        shown["held"] = json!(held);
        shown["createdAt"] = moment(stored.created_at).into();
        shown["updatedAt"] = moment(stored.updated_at).into();
        shown["signingSecrets"] = secrets.collect::<Vec<_>>().into();
        shown["signingPublicKey"] = newest.into();
        shown["jwksUrl"] = self.jwks_url(asked).into();
        shown
    }

    async fn answer(&self, asked: &ApiRequest<'_>, id: &EndpointId, stored: &StoredEndpoint) -> Answer {
        let held = self.held(id, stored).await?;
        let body = self.shown(asked, id, stored, held.as_ref()).to_string();
        Ok(with_header(respond(200, JSON, body), ETAG, &shown_tag(stored, held.as_ref())))
    }

    /// Builds the only answer that contains the newest signing secret, if the caller may see it.
    fn answer_with_secret(
        &self,
        status: u16,
        asked: &ApiRequest<'_>,
        id: &EndpointId,
        stored: &StoredEndpoint,
        held: Option<&ShownHold>,
        keys: &EndpointKeys,
    ) -> ApiGatewayV2httpResponse {
        let mut body = self.shown(asked, id, stored, held);
        if asked.may_see_secrets() {
            body["signingSecret"] = keys.secret().written().reveal().into();
        }
        with_header(respond(status, JSON, body.to_string()), ETAG, &shown_tag(stored, held))
    }
}

/// Returns whether an endpoint's requests are signed with its own keys.
fn signs_by_itself(stored: &StoredEndpoint) -> bool {
    stored.settings.signs(SignatureFormat::StandardWebhooks)
}

/// Formats a time by RFC 3339, from seconds since the Unix epoch.
pub(crate) fn moment(unix_seconds: u64) -> String {
    rfc3339(unix_seconds.saturating_mul(1_000))
}
