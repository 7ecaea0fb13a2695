//! Rates from counters that only grow: two readings, the earlier one from the last run.

use std::future::Future;
use std::time::Duration;

use monchero_core::{CheckError, Context};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::host;

/// How far two readings of one run are apart: long enough to see some traffic, short enough to wait for.
const APART: Duration = Duration::from_millis(500);

/// What counters said at one moment; it is remembered as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reading<T> {
    /// The wall clock, in milliseconds.
    at: i64,
    /// Which boot of the host it was, since counters begin anew with each.
    boot: String,
    pub(crate) counters: T,
}

/// Two readings, and how many seconds lie between them.
pub(crate) struct Span<T> {
    pub(crate) earlier: T,
    pub(crate) now: Reading<T>,
    pub(crate) seconds: f64,
}

/// Reads counters. The earlier reading is that of the last run; if there is none, or none of this boot, it is made now, and a second one a moment
/// later.
pub(crate) async fn span<T, F>(
    context: &Context<'_>,
    last: Option<Reading<T>>,
    mut read: impl FnMut() -> F,
) -> Result<Span<T>, CheckError>
where
    T: Serialize + DeserializeOwned,
    F: Future<Output = Result<T, CheckError>>,
{
    let boot = host::read_if_exists(context.sysroot, BOOT_ID)?.unwrap_or_default().trim().to_owned();
    let at = context.now.as_millisecond();
    let start = Instant::now();
    let counters = read().await?;
    if let Some(last) = last.filter(|last| last.boot == boot && last.at < at) {
        let seconds = (at - last.at) as f64 / 1e3;
        return Ok(Span { earlier: last.counters, now: Reading { at, boot, counters }, seconds });
    }
    sleep(APART.min(context.timeout / 4)).await;
    let (earlier, between) = (counters, start.elapsed());
    let at = at.saturating_add(i64::try_from(between.as_millis()).unwrap_or(i64::MAX));
    Ok(Span { earlier, now: Reading { at, boot, counters: read().await? }, seconds: between.as_secs_f64() })
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// How much a counter grew; nothing if it went backwards, because the device was replaced or the counter ran over.
pub(crate) fn growth(earlier: u64, now: u64) -> Option<f64> {
    now.checked_sub(earlier).map(|growth| growth as f64)
}
