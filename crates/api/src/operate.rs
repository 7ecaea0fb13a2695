//! What can be changed. Every one of these is logged with the user who asked.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use jiff::Timestamp;
use monchero_core::check::{MAX_RUN_ID, MAX_SIGNAL_OUTPUT, Signal, SignalKind as Said};
use monchero_core::hold::{self, Selector};
use monchero_core::metric::{MAX_LABEL, MAX_METRICS};
use monchero_core::quantity::Unit;
use monchero_core::report::ServiceResult;
use monchero_core::{Metric, Name, Report, nagios, text};
use serde::Serialize;

use crate::backend::Backend;
use crate::error::ApiError;
use crate::json::{self, Json, Params};
use crate::read;
use crate::routes::{Caller, Subject};
use crate::types::{
    AcknowledgementRequest, Done, DowntimePlanned, DowntimeRequest, Failure, ReloadSummary, ResultRequest, RunAnswer,
    RunRequest, RunResult, SignalKind, SignalRequest,
};
use crate::users;

/// The most checks that one request runs: what the engine takes at once without making others wait.
pub(crate) const MAX_RUN: usize = 64;
/// The longest comment, in bytes: it stands in tables and messages.
pub(crate) const MAX_COMMENT: usize = 1_024;
/// The longest name of an author, in bytes.
pub(crate) const MAX_AUTHOR: usize = 128;

/// The most labels by which a downtime chooses: no check has more that mean something.
const MAX_LABELS: usize = 32;

/// An answer that tells the log what it was about.
pub(crate) fn done(subject: String, answer: &impl Serialize) -> Response {
    let mut response = json::response(StatusCode::OK, answer);
    response.extensions_mut().insert(Subject(subject));
    response
}

/// Runs checks now and waits for what they find.
#[utoipa::path(
    post, path = "/v1/run", request_body = RunRequest,
    responses((status = 200, body = RunAnswer), (status = 404, description = "There is no such check; none was run", body = Failure)),
)]
pub(crate) async fn run(State(backend): State<Backend>, Json(request): Json<RunRequest>) -> Result<Response, ApiError> {
    let names = request.checks;
    if names.is_empty() || names.len() > MAX_RUN {
        return Err(ApiError::bad_request(format!("1 to {MAX_RUN} checks can be run at once, not {}", names.len())));
    }
    // A misspelt name among several is found before anything runs.
    for name in &names {
        backend.engine.show(name).await?;
    }
    let found = join_all(names.iter().map(|name| backend.engine.run(Name::new(name)))).await;
    let found: Vec<ServiceResult> = found
        .into_iter()
        .map(|found| {
            found.unwrap_or_else(|refusal| ServiceResult {
                state: monchero_core::State::Unknown,
                message: format!("could not be run: {refusal}").into(),
                ..ServiceResult::default()
            })
        })
        .collect();
    let worst = found.iter().map(|result| result.state).max().unwrap_or_default().into();
    let results = names.iter().zip(&found).map(|(name, result)| RunResult::of(name, result)).collect();
    Ok(done(names.join(", "), &RunAnswer { worst, results }))
}

/// Hands in a result that somebody else found.
#[utoipa::path(
    post, path = "/v1/result", request_body = ResultRequest,
    responses((status = 200, body = Done), (status = 404, description = "There is no such check", body = Failure)),
)]
pub(crate) async fn submit(
    State(backend): State<Backend>,
    Json(request): Json<ResultRequest>,
) -> Result<Response, ApiError> {
    let check = name(&request.check)?;
    let report = report(request)?;
    let state = report.worst();
    backend.engine.submit(check.clone(), report).await?;
    Ok(done(check.to_string(), &Done { done: format!("`{check}` took the result: {state}") }))
}

/// Hands in what a job says about itself. The answer comes when it is on disk.
#[utoipa::path(
    post, path = "/v1/checks/{name}/signals", request_body = SignalRequest,
    params(("name" = String, Path, description = "The name of the check, percent-encoded")),
    responses((status = 200, body = Done), (status = 404, description = "There is no such check", body = Failure), (status = 409, description = "It takes no signals", body = Failure)),
)]
pub(crate) async fn signal(
    State(backend): State<Backend>,
    Path(check): Path<String>,
    Json(request): Json<SignalRequest>,
) -> Result<Response, ApiError> {
    let check = name(&check)?;
    let word = request.kind;
    let found = backend.engine.signal(check.clone(), heard(request)?).await?;
    let subject = format!("{check} {word:?}");
    Ok(done(subject, &Done { done: format!("`{check}` is {}: {}", found.state, found.message) }))
}

/// The signal that a request makes: bounded, its texts harmless.
fn heard(request: SignalRequest) -> Result<Signal, ApiError> {
    let kind = match (request.kind, request.exit_status) {
        (SignalKind::Fail, status) => Said::Fail(status),
        (_, Some(_)) => return Err(ApiError::bad_request("only `fail` has an `exit_status`")),
        (SignalKind::Start, None) => Said::Start,
        (SignalKind::Success, None) => Said::Success,
        (SignalKind::Log, None) => Said::Log,
    };
    if let Some(run) = &request.run
        && (run.is_empty() || run.len() > MAX_RUN_ID || run.chars().any(char::is_control))
    {
        return Err(ApiError::bad_request(format!("a `run` has 1 to {MAX_RUN_ID} bytes, and no control characters")));
    }
    if request.output.len() > MAX_SIGNAL_OUTPUT {
        let most = MAX_SIGNAL_OUTPUT / 1024;
        return Err(ApiError::bad_request(format!("a signal has at most {most} KiB of output: send its end")));
    }
    let took = request.duration.map(|text| monchero_core::duration::parse(&text)).transpose();
    let took = took.map_err(|why| ApiError::bad_request(format!("`duration`: {why}")))?;
    Ok(Signal { kind, run: request.run, output: text::clean(request.output.as_bytes()), took })
}

pub(crate) fn name(text: &str) -> Result<Name, ApiError> {
    Name::parse(text).map_err(ApiError::bad_request)
}

pub(crate) fn state(word: &str) -> Result<monchero_core::State, ApiError> {
    monchero_core::State::from_word(word).ok_or_else(|| {
        ApiError::bad_request(format!("`{word}` is no state")).hint("a state is `okay`, `warning`, `unknown` or `bad`")
    })
}

/// The report that a request makes: its texts harmless, its labels and metrics bounded.
fn report(request: ResultRequest) -> Result<Report, ApiError> {
    let state = state(&request.state)?;
    let mut metrics: Vec<Metric> = request
        .metrics
        .into_iter()
        .map(|metric| {
            let mut label = text::clean(metric.label.as_bytes());
            text::truncate_at_char(&mut label, MAX_LABEL);
            Metric {
                label: label.into(),
                value: metric.value,
                unit: Unit::new(&text::clean(metric.unit.as_bytes())),
                warning: metric.warning,
                bad: metric.bad,
                min: metric.min,
                max: metric.max,
            }
        })
        .collect();
    metrics.extend(perfdata(&request.perfdata)?);
    if metrics.len() > MAX_METRICS {
        return Err(ApiError::bad_request(format!(
            "a result has at most {MAX_METRICS} metrics, this one has {}",
            metrics.len()
        )));
    }
    let message = text::clean(request.message.as_bytes());
    // One line is the message; what a plugin would print below it is further output.
    let (message, rest) = message.split_once('\n').unwrap_or((&message, ""));
    let mut output = rest.to_owned();
    if !output.is_empty() && !request.output.is_empty() {
        output.push('\n');
    }
    output.push_str(&text::clean(request.output.as_bytes()));
    let message = if message.trim().is_empty() { format!("submitted as {state}") } else { message.to_owned() };
    Ok(Report { state: Some(state), message: Some(message), output, metrics, ..Report::default() })
}

/// Metrics as a plugin would print them; what cannot be read is refused, since a client can be told.
fn perfdata(text: &str) -> Result<Vec<Metric>, ApiError> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let output = nagios::parse(format!("| {text}").as_bytes(), false);
    if output.metrics.is_empty() || output.lost != nagios::Lost::default() || !output.message.is_empty() {
        return Err(ApiError::bad_request("`perfdata` holds something that is no metric")
            .hint("write it as in `time=0.2s;1;2 size=10KB`"));
    }
    Ok(output.metrics)
}

/// Acknowledges a problem: its notices wait until it is over, changes, or the time is up.
#[utoipa::path(
    post, path = "/v1/acknowledgement", request_body = AcknowledgementRequest,
    responses((status = 200, body = Done), (status = 404, description = "There is no such check", body = Failure), (status = 409, description = "It has no confirmed problem", body = Failure)),
)]
pub(crate) async fn acknowledge(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<AcknowledgementRequest>,
) -> Result<Response, ApiError> {
    let check = name(&request.check)?;
    let now = backend.clock.now();
    if request.until.is_some_and(|until| until <= now) {
        return Err(ApiError::bad_request("`until` has passed"));
    }
    let author = author(request.author, caller).await;
    backend
        .engine
        .acknowledge(check.clone(), author.clone(), comment(&request.comment), request.until, request.sticky)
        .await?;
    Ok(done(check.to_string(), &Done { done: format!("`{check}` is acknowledged by {author}") }))
}

/// Takes an acknowledgement back.
#[utoipa::path(
    delete, path = "/v1/acknowledgement",
    params(("check" = String, Query, description = "The name of the check")),
    responses((status = 200, body = Done), (status = 404, description = "There is no such check", body = Failure), (status = 409, description = "It is not acknowledged", body = Failure)),
)]
pub(crate) async fn unacknowledge(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let check = name(&params.required("check")?)?;
    params.done()?;
    backend.engine.unacknowledge(check.clone()).await?;
    Ok(done(check.to_string(), &Done { done: format!("`{check}` is no longer acknowledged") }))
}

/// Plans a downtime.
#[utoipa::path(
    post, path = "/v1/downtime", request_body = DowntimeRequest,
    responses((status = 200, body = DowntimePlanned), (status = 404, description = "A pattern covers no check", body = Failure)),
)]
pub(crate) async fn add_downtime(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Json(request): Json<DowntimeRequest>,
) -> Result<Response, ApiError> {
    let Span { start, end, lasts } = span(&request, backend.clock.now())?;
    if request.checks.is_empty() && request.labels.is_empty() {
        return Err(ApiError::bad_request("it is not said which checks: `checks` or `labels` choose them"));
    }
    if request.labels.len() > MAX_LABELS {
        return Err(ApiError::bad_request(format!("at most {MAX_LABELS} labels, not {}", request.labels.len())));
    }
    let covers = Selector { checks: request.checks, labels: request.labels };
    let snapshot = backend.engine.snapshot().await?;
    let named = read::matching(&snapshot, &covers.checks)?;
    let covered = named.into_iter().filter(|row| covers.fits(row.name.as_str(), &row.labels));
    let covered = covered.map(|row| row.name.to_string()).collect();
    let author = author(request.author, caller).await;
    let comment = comment(&request.comment);
    let downtime = hold::Downtime { covers, start, end, lasts, author, comment, ..hold::Downtime::default() };
    let downtime = backend.engine.add_downtime(downtime).await?;
    let subject = format!("{} until {}", downtime.covers, downtime.end);
    Ok(done(subject, &DowntimePlanned { downtime: downtime.into(), covers: covered }))
}

/// From when to when; for how long, if it is flexible.
struct Span {
    start: Timestamp,
    end: Timestamp,
    lasts: Option<Duration>,
}

/// From when to when: an end or a duration, not both. A flexible one has a duration, and the end of its window.
fn span(request: &DowntimeRequest, now: Timestamp) -> Result<Span, ApiError> {
    let start = request.start.unwrap_or(now);
    let lasts = request.duration.as_deref().map(monchero_core::duration::parse).transpose();
    let lasts = lasts.map_err(ApiError::bad_request)?;
    let after = |from: Timestamp, lasts: Duration| {
        from.checked_add(lasts).map_err(|error| ApiError::bad_request(format!("the downtime never ends: {error}")))
    };
    let span = match (request.end, request.begins_until, lasts) {
        (Some(end), None, None) => Span { start, end, lasts: None },
        (None, None, Some(lasts)) => Span { start, end: after(start, lasts)?, lasts: None },
        (None, Some(until), Some(lasts)) if !lasts.is_zero() => {
            after(until, lasts)?;
            Span { start, end: until, lasts: Some(lasts) }
        }
        (_, Some(_), _) => return Err(ApiError::bad_request("a flexible downtime has a `duration`, and no `end`")),
        _ => return Err(ApiError::bad_request("a downtime has either an `end` or a `duration`")),
    };
    if span.end <= start {
        return Err(ApiError::bad_request("the downtime ends before it begins"));
    }
    if span.end <= now {
        return Err(ApiError::bad_request("the downtime is over already"));
    }
    Ok(span)
}

/// Ends a downtime, or takes one back that has not begun.
#[utoipa::path(
    delete, path = "/v1/downtime",
    params(("id" = u64, Query, description = "The number of the downtime")),
    responses((status = 200, body = Done), (status = 409, description = "There is no such downtime", body = Failure)),
)]
pub(crate) async fn end_downtime(State(backend): State<Backend>, mut params: Params) -> Result<Response, ApiError> {
    let Some(id) = params.parsed("id", "the number of a downtime")? else {
        return Err(ApiError::bad_request("the parameter `id` is missing"));
    };
    params.done()?;
    let downtime = backend.engine.end_downtime(id).await?;
    Ok(done(
        format!("{id} {}", downtime.covers),
        &Done { done: format!("downtime {id} of `{}` is over", downtime.covers) },
    ))
}

/// Reads the configuration again. If anything is wrong with it, the running set stays as it is.
#[utoipa::path(
    post, path = "/v1/reload",
    responses((status = 200, body = ReloadSummary), (status = 422, description = "The configuration is broken; the running set is untouched", body = Failure)),
)]
pub(crate) async fn reload(State(backend): State<Backend>) -> Result<Response, ApiError> {
    match (backend.reload)().await {
        Ok(summary) => {
            let ReloadSummary { added, changed, removed, .. } = &summary;
            Ok(done(
                format!("{} added, {changed} changed, {removed} removed", text::counted(*added, "check")),
                &summary,
            ))
        }
        Err(problems) => Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the configuration is broken; the running set is untouched",
        )
        .hint("`monchero config check` shows the same")
        .problems(problems)),
    }
}

fn comment(text: &str) -> String {
    text::shorten(text::clean(text.as_bytes()).trim(), MAX_COMMENT)
}

/// Who is noted: the user whose process asks, and the name that it gives beside it, never instead of it.
async fn author(given: Option<String>, caller: Caller) -> String {
    let user = tokio::task::spawn_blocking(move || users::name(caller.uid))
        .await
        .unwrap_or_else(|_| format!("user {}", caller.uid));
    let given = given
        .map(|given| text::shorten(text::clean(given.as_bytes()).trim(), MAX_AUTHOR))
        .filter(|given| !given.is_empty());
    match given {
        Some(given) if given != user => format!("{given} ({user})"),
        _ => user,
    }
}
