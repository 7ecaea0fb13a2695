//! What the engine needs of the store: to write batches without waiting, and to learn how far they are on disk.

use monchero_core::summary::Tally;
use monchero_store::{Committed, Record, Urgency};
use tokio::sync::watch;

/// Takes batches of records in order. The store implements it; scenario tests use one in memory that follows the paused clock.
pub trait Journal: Send + Sync {
    /// Queues a batch and answers at once with its ticket. Tickets grow and are committed in order.
    fn write(&self, records: Vec<Record>, urgency: Urgency) -> u64;

    /// How far it got.
    fn committed(&self) -> watch::Receiver<Committed>;

    /// Shows a tally what happened in its period. Blocks while the disk is read; the error is for a person.
    fn tally(&self, tally: &mut Tally) -> Result<(), String>;

    /// What was mended or lost when and since it was opened, for `self/store`: a few dozen lines at most.
    fn repairs(&self) -> Vec<String> {
        Vec::new()
    }

    /// How many records were dropped since it was opened, because the disk did not take them.
    fn dropped(&self) -> u64 {
        0
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

    fn repairs(&self) -> Vec<String> {
        self.counters().repairs
    }

    fn dropped(&self) -> u64 {
        self.counters().dropped
    }
}
