//! Drills: tests of targets, and what would happen if.

use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::future::join_all;
use monchero_core::definition::Trigger;
use monchero_core::{Decision, Name, Notice, duration};
use monchero_engine::view::{RehearsedScript, RehearsedTarget, Verdict as Found};
use monchero_engine::{Refusal, Rehearsal, Test};

use crate::backend::Backend;
use crate::error::ApiError;
use crate::json::Json;
use crate::operate::{done, name, state};
use crate::types::{
    DrillAnswer, DrillRequest, DrillScript, DrillTarget, Failure, Target, TestAnswer, TestRequest, Verdict,
};

/// Sends a target a message that says that it is a drill, and waits for how that goes.
///
/// It goes the way of every message, after the one that is under way; what the target was told stays as it is.
#[utoipa::path(
    post, path = "/v1/targets/{name}/test", request_body = TestRequest,
    params(("name" = String, Path, description = "The name of the target, percent-encoded")),
    responses(
        (status = 200, body = TestAnswer, description = "It was tried; `delivered` says whether the receiver took it"),
        (status = 404, description = "There is no such target", body = Failure),
        (status = 409, description = "It is a script, or too many drills wait for it", body = Failure),
    ),
)]
pub(crate) async fn test(
    State(backend): State<Backend>,
    Path(target): Path<String>,
    Json(request): Json<TestRequest>,
) -> Result<Response, ApiError> {
    let test = Test { target: name(&target)?, state: state(&request.state)?, about: None };
    let (target, state) = (test.target.to_string(), test.state);
    let outcome = backend.engine.test_target(test).await?;
    Ok(done(format!("{target} {state}"), &answer(target, outcome)))
}

/// Tells who would be told what, and what would run, if a check became something now.
///
/// Nothing changes. If asked to, those who would be told now get a message that says that it is a drill; scripts are never run.
#[utoipa::path(
    post, path = "/v1/checks/{name}/drill", request_body = DrillRequest,
    params(("name" = String, Path, description = "The name of the check, percent-encoded")),
    responses((status = 200, body = DrillAnswer), (status = 404, description = "There is no such check", body = Failure)),
)]
pub(crate) async fn drill(
    State(backend): State<Backend>,
    Path(check): Path<String>,
    Json(request): Json<DrillRequest>,
) -> Result<Response, ApiError> {
    let rehearsal = backend.engine.rehearse(name(&check)?, state(&request.state)?).await?;
    let Rehearsal { check, state, hard_state, targets, scripts } = &*rehearsal;
    let sending = targets.iter().map(|target| send(&backend, &rehearsal, target, request.send));
    let sent = join_all(sending).await;
    let told = targets.iter().zip(sent).map(|(target, sent)| DrillTarget {
        target: Target::from(&target.view),
        why: why_told(target, *state),
        sent,
    });
    let drill = DrillAnswer {
        check: check.to_string(),
        state: (*state).into(),
        hard_state: (*hard_state).into(),
        targets: told.collect(),
        scripts: scripts.iter().map(|script| rehearsed(script, *state)).collect(),
    };
    Ok(done(format!("{check} {state}{}", if request.send { ", sent" } else { "" }), &drill))
}

/// Sends the drill, if it is to be sent and this target would be told now.
async fn send(
    backend: &Backend,
    rehearsal: &Rehearsal,
    target: &RehearsedTarget,
    is_wanted: bool,
) -> Option<TestAnswer> {
    let Decision::Tell(notice) = &target.view.decision else { return None };
    let about = Some((rehearsal.check.clone(), Notice::clone(notice)));
    let name: Name = target.view.target.clone();
    let test = is_wanted.then(|| Test { target: name.clone(), state: rehearsal.state, about })?;
    // What is refused for one target is its own matter: the others were sent theirs.
    let outcome = backend.engine.test_target(test).await.unwrap_or_else(|refusal: Refusal| Err(refusal.to_string()));
    Some(answer(name.to_string(), outcome))
}

pub(crate) fn answer(target: String, outcome: Result<String, String>) -> TestAnswer {
    let delivered = outcome.is_ok();
    let (Ok(answer) | Err(answer)) = outcome;
    TestAnswer { target, delivered, answer }
}

fn why_told(target: &RehearsedTarget, state: monchero_core::State) -> String {
    let told = target.view.told.state;
    match &target.view.decision {
        Decision::Tell(_) => match (&target.view.retry, &target.view.last_error) {
            (Some((tries, _)), Some(error)) => format!("it rests after {tries} failed tries: {error}"),
            _ => "nothing holds it".to_owned(),
        },
        Decision::Held(_, hold) => hold.to_string(),
        Decision::Nothing(_) if told == state && state.is_problem() => format!("it knows that it is {state}"),
        Decision::Nothing(_) if !state.is_problem() => "it was told of no problem that would be over".to_owned(),
        Decision::Nothing(_) => {
            let wants: Vec<&str> = target.wants.iter().map(|state| state.as_str()).collect();
            format!("it wants to be told of {} only", wants.join(" and "))
        }
    }
}

fn rehearsed(script: &RehearsedScript, state: monchero_core::State) -> DrillScript {
    let on: Vec<String> = script.on.iter().map(|trigger| word(*trigger).to_owned()).collect();
    let (verdict, why) = match &script.verdict {
        Found::Runs => (Verdict::Runs, "nothing stops it".to_owned()),
        Found::Skipped(why) => (Verdict::Skipped, why.clone()),
        Found::NotSetOff => (Verdict::NotSetOff, format!("it is set off by {} only", on.join(" and "))),
        Found::NothingChanges => (Verdict::NotSetOff, format!("the check is {state} already")),
    };
    DrillScript {
        name: script.script.to_string(),
        verdict,
        why,
        on,
        cooldown: script.cooldown.map(duration::format),
        limit: script.limit,
    }
}

fn word(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Warning => "warning",
        Trigger::Bad => "bad",
        Trigger::Unknown => "unknown",
        Trigger::Recovery => "recovery",
        Trigger::Soft => "soft",
    }
}
