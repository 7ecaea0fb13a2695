//! What the engine needs of the store: to write batches without waiting, and to learn how far they are on disk.

use monchero_core::summary::Tally;
use monchero_store::{Committed, Counters, Record, Urgency};
use tokio::sync::watch;

/// Takes batches of records in order. The store implements it; scenario tests use one in memory that follows the paused clock.
pub trait Journal: Send + Sync {
    /// Queues a batch and answers at once with its ticket. Tickets grow and are committed in order.
    fn write(&self, records: Vec<Record>, urgency: Urgency) -> u64;

    /// How far it got.
    fn committed(&self) -> watch::Receiver<Committed>;

    /// Shows a tally what happened in its period. Blocks while the disk is read; the error is for a person.
    fn tally(&self, tally: &mut Tally) -> Result<(), String>;

    /// How much it wrote and left out since it was opened, and what was mended or lost then and since, for `self/store`.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

impl Journal for monchero_store::Store {
    fn write(&self, records: Vec<Record>, urgency: Urgency) -> u64 {
        Self::write(self, records, urgency)
    }

    fn committed(&self) -> watch::Receiver<Committed> {
        Self::committed(self)
    }

    fn tally(&self, tally: &mut Tally) -> Result<(), String> {
        self.reader().tally(tally).map_err(|error| error.to_string())
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }
}
