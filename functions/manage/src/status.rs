//! The status of subjects, for pollers.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use futures_util::future::try_join_all;
use http::HeaderName;
use http::header::ETAG;
use serde::Serialize;
use serde_json::value::RawValue;
use signpost_core::event::{EventKey, TenantId};
use signpost_core::input::problem::Problem;
use signpost_core::status::state::{MAX_HISTORY, StateKey, SubjectState};
use signpost_engine::ports::events::Events as _;
use signpost_engine::ports::events::StoredEvent;
use signpost_io::aws::AwsError;
use signpost_io::runtime::api_gateway::{empty, refuse, respond, with_header};
use signpost_io::runtime::logs::Chain;
use signpost_io::tables::quotas::WaitingPlace;
use signpost_io::tables::states::SubjectKey;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::api_request::{ApiRequest, RequestedSubject};
use crate::endpoints::JSON;
use crate::events::unreadable;
use crate::{Answer, App, Refusal};

/// How long a request may wait for news. API Gateway times out after 30 s. The function's timeout leaves room for two
/// slow calls after the wait.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How many other subjects a path may mean without `?type=`: each costs one read unit.
const MOST_OTHERS: usize = 16;
/// How long a place to wait is kept beyond the wait: one slow look at the table.
const BESIDE_WAIT: Duration = Duration::from_secs(5);
/// How long it may take to free a place, so that the answer comes in time.
const LEAVING: Duration = Duration::from_secs(1);
/// How often the table is read meanwhile: each costs one read unit, 40 in the longest wait.
const LOOKING_EVERY: Duration = Duration::from_millis(500);

impl App {
    /// Shows the status of a subject and its history. With `Prefer: wait`, waits for a state that the caller does not
    /// have (RFC 7240, section 4.3), unless enough other requests of the tenant wait.
    pub(crate) async fn read_status(&self, asked: &ApiRequest<'_>) -> Answer {
        let about = asked.subject()?;
        self.refuse_ambiguous(asked, &about).await?;
        let subject = SubjectKey { tenant: &asked.tenant, kind: &about.kind, name: &about.name };
        let began = Instant::now(); // Every call counts as a part of the wait, so that slow ones do not prolong it.
        let newest = self.states.newest(subject).await?;
        let mut wait = asked.wait().map(|wait| wait.min(LONGEST_WAIT));
        let newest = match wait {
            Some(longest) if is_known(asked, newest.as_ref()) && !longest.is_zero() => {
                if let Some(place) = self.place_to_wait(&asked.tenant, longest).await {
                    let awaited = self.await_news(asked, subject, newest, began + longest).await;
                    self.leave(place).await;
                    awaited?
                } else {
                    wait = None; // The preference is ignored (RFC 7240, section 2).
                    newest
                }
            }
            _ => newest,
        };
        let answer = match newest {
            Some(newest) if asked.has(&newest.tag()) => with_header(empty(304), ETAG, &weak(&newest)),
            Some(_) => self.show(subject).await?,
            None => not_there(),
        };
        let Some(wait) = wait else { return Ok(answer) };
        Ok(with_header(answer, PREFERENCE_APPLIED, &format!("wait={}", wait.as_secs())))
    }

    /// Refuses a path that can mean two subjects, if there are states of another one than `about`. Otherwise the caller
    /// could get the answer for another subject. Reads the table only if the subject has a slash.
    pub(crate) async fn refuse_ambiguous(
        &self,
        asked: &ApiRequest<'_>,
        about: &RequestedSubject,
    ) -> Result<(), Refusal> {
        let others = about.others();
        let ambiguous = |kind: &str| {
            Problem::conflict(format!(
                "the path can mean several subjects; add `?type=` with the type that you mean, such as `{kind}`"
            ))
        };
        if others.len() > MOST_OTHERS {
            return Err(ambiguous(&about.kind).into());
        }
        let looked = others.iter().map(async |(kind, name)| {
            let found = self.states.newest(SubjectKey { tenant: &asked.tenant, kind, name }).await?;
            Ok::<_, AwsError>(found.map(|_| &**kind))
        });
        match try_join_all(looked).await?.into_iter().flatten().next() {
            Some(kind) => Err(ambiguous(kind).into()),
            None => Ok(()),
        }
    }

    /// Returns the permission to wait; `None` if enough other requests of the tenant wait, or if nobody knows that.
    async fn place_to_wait(&self, tenant: &TenantId, longest: Duration) -> Option<WaitingPlace> {
        match self.quotas.wait(tenant, longest + BESIDE_WAIT).await {
            Ok(Some(place)) => Some(place),
            Ok(None) => {
                tracing::info!(tenant.id = %tenant, "poll.not_waited");
                None
            }
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, error = %Chain(&error), "poll.not_waited");
                None
            }
        }
    }

    /// Frees a place, if that takes no longer than [`LEAVING`]. Otherwise the place is free when its time is over.
    async fn leave(&self, place: WaitingPlace) {
        if let Ok(Err(error)) = timeout(LEAVING, self.quotas.leave(place)).await {
            tracing::warn!(error = %Chain(&error), "poll.place_kept");
        }
    }

    /// Returns the newest state once it differs from the caller's, or the newest one at `until`.
    async fn await_news(
        &self,
        asked: &ApiRequest<'_>,
        subject: SubjectKey<'_>,
        mut newest: Option<StateKey>,
        until: Instant,
    ) -> Result<Option<StateKey>, AwsError> {
        while is_known(asked, newest.as_ref()) && Instant::now() < until {
            sleep_until(until.min(Instant::now() + LOOKING_EVERY)).await;
            let looking = self.states.newest(subject);
            let Ok(looked) = timeout_at(until + LOOKING_EVERY, looking).await else { break };
            newest = looked?;
        }
        Ok(newest)
    }

    async fn show(&self, subject: SubjectKey<'_>) -> Answer {
        let history = self.states.history(subject, MAX_HISTORY).await?;
        let Some(latest) = history.first() else { return Ok(not_there()) };
        let StateKey { event: id, source, .. } = latest.place.clone();
        let kept = self.events.get(&EventKey { tenant: subject.tenant.clone(), source, id }).await?;
        let Some(StoredEvent { event, .. }) = kept else { return Ok(not_there()) }; // The event has just expired.
        let shown = ShownStatus {
            r#type: subject.kind,
            subject: subject.name,
            latest: shown(latest),
            data: serde_json::from_str(event.data()).map_err(unreadable)?,
            history: history.iter().map(shown).collect(),
        };
        let answer = respond(200, JSON, serde_json::to_string(&shown).map_err(unreadable)?);
        Ok(with_header(answer, ETAG, &weak(&latest.place)))
    }
}

/// Returns whether there is nothing that the caller does not have.
fn is_known(asked: &ApiRequest<'_>, newest: Option<&StateKey>) -> bool {
    newest.is_none_or(|newest| asked.has(&newest.tag()))
}

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Returns a weak tag of the newest state only, because a late state joins the history without being news.
fn weak(newest: &StateKey) -> String {
    format!("W/{}", newest.tag())
}

pub(crate) fn not_there() -> ApiGatewayV2httpResponse {
    refuse(&Problem::not_found("the tenant has no event of this type about this subject, or not any more"))
}

#[derive(Serialize)]
struct ShownStatus<'a> {
    r#type: &'a str,
    subject: &'a str,
    #[serde(flatten)]
    latest: ShownState<'a>,
    data: &'a RawValue,
    history: Vec<ShownState<'a>>,
}

#[derive(Serialize)]
struct ShownState<'a> {
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    time: String,
    event: &'a str,
    source: &'a str,
}

fn shown(state: &SubjectState) -> ShownState<'_> {
    ShownState {
        status: state.status.as_deref(),
        stage: state.stage.as_deref(),
        time: state.place.moment.rfc3339(),
        event: state.place.event.as_str(),
        source: &state.place.source,
    }
}
