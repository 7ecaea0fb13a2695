//! Signs of life: sent while monchero is well, so that somebody else notices when it is not.

use std::sync::Arc;
use std::time::Duration;

use monchero_actions::Alive;
use monchero_core::{Report, State};
use monchero_engine::{ALIVE, EngineGone, EngineHandle, Snapshot};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How long the engine may take to answer: one that takes longer makes no progress.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many failures in a row make `self/alive` bad; fewer are a warning.
const FAILED_TRIES: u32 = 3;
/// The names of monchero's own checks begin with this.
const OWN: &str = "self/";

/// Sends them as the settings say, which may change, until the engine is gone. Nothing waits for it.
pub(crate) async fn send(engine: EngineHandle, mut settings: watch::Receiver<Option<Arc<Alive>>>) {
    loop {
        let current = settings.borrow_and_update().clone();
        let Some(alive) = current else {
            if settings.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            _ = beat(&engine, &alive) => return,
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Sends one after the other, until the engine is gone.
async fn beat(engine: &EngineHandle, alive: &Alive) -> EngineGone {
    let mut ticks = tokio::time::interval(alive.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed = 0;
    loop {
        ticks.tick().await;
        let snapshot = match tokio::time::timeout(PATIENCE, engine.snapshot()).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(gone)) => return gone,
            Err(_) => {
                tracing::error!("the engine does not answer: no sign of life is sent");
                continue;
            }
        };
        let report = match trouble(&snapshot) {
            Some(trouble) => Report::of(State::Warning, format!("no sign of life is sent: {trouble}")),
            None => match alive.send(&line(&snapshot)).await {
                Ok(answer) => {
                    failed = 0;
                    Report::of(State::Okay, answer)
                }
                Err(why) => {
                    failed += 1;
                    let state = if failed < FAILED_TRIES { State::Warning } else { State::Bad };
                    Report::of(state, format!("the sign of life was not taken: {why}"))
                }
            },
        };
        if let Err(gone) = engine.alive(report).await {
            return gone;
        }
    }
}

/// Why monchero is not well, if it is not: what its own checks say, except the one about this.
fn trouble(snapshot: &Snapshot) -> Option<String> {
    let own = snapshot.rows.iter().filter(|row| row.name.as_str().starts_with(OWN) && row.name.as_str() != ALIVE);
    let mut bad = own.filter(|row| !row.status.is_pending() && row.status.state == State::Bad);
    bad.next().map(|row| format!("`{}` is bad", row.name))
}

/// How everything is, in a line.
fn line(snapshot: &Snapshot) -> String {
    let count = |state| {
        let of_state = |row: &&Arc<monchero_engine::Row>| !row.status.is_pending() && row.status.state == state;
        snapshot.rows.iter().filter(of_state).count()
    };
    let all = [State::Bad, State::Unknown, State::Warning, State::Okay];
    let words: Vec<String> = all.into_iter().map(|state| format!("{} {state}", count(state))).collect();
    format!("{}: {}", snapshot.host, words.join(", "))
}

#[cfg(test)]
mod tests;
