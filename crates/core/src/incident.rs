//! Incidents: from the hard problem to the hard okay.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::state::State;

/// Joins everything about an incident: transitions, notices, actions. Made of the check's name and the moment and number of the
/// transition that opened it, so the same story told twice gives the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(u64);

impl IncidentId {
    /// The id of the first incident of `check`, which began at `since`.
    pub fn new(check: &Name, since: Timestamp) -> Self {
        Self::opened(check, since, 1)
    }

    /// The id of the incident of `check` that its transition number `sequence` opened at `since`. The number tells apart what a
    /// clock that stepped back, or two results within a millisecond, would not.
    pub fn opened(check: &Name, since: Timestamp, sequence: u64) -> Self {
        let hash =
            stable_hash(&[check.as_str().as_bytes(), &since.as_millisecond().to_be_bytes(), &sequence.to_be_bytes()]);
        // SQLite and JSON readers keep 53 bits exactly.
        Self(hash & ((1 << 53) - 1))
    }

    /// The number, as the store keeps it.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// From the number that the store kept.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014x}", self.0)
    }
}

/// An open incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// When the problem became hard.
    pub since: Timestamp,
    /// The worst state that it has had.
    pub worst: State,
}

/// FNV-1a over parts with their lengths: the same in every build and on every machine, which std's hashers do not promise.
pub fn stable_hash(parts: &[&[u8]]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    // FNV mixes its last bytes only into the low half; one multiply-shift spreads them.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ() {
        let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let later = Timestamp::from_millisecond(1_700_000_000_001).unwrap();
        let id = IncidentId::new(&Name::new("a"), at);
        assert_eq!(id, IncidentId::new(&Name::new("a"), at));
        assert_ne!(id, IncidentId::new(&Name::new("b"), at));
        assert_ne!(id, IncidentId::new(&Name::new("a"), later));
        assert_ne!(id, IncidentId::opened(&Name::new("a"), at, 2));
        assert_eq!(IncidentId::from_u64(id.as_u64()), id);
        assert!(id.as_u64() < 1 << 53);
        assert_eq!(id.to_string().len(), 14);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(stable_hash(&[b"ab", b"c"]), stable_hash(&[b"a", b"bc"]));
    }
}
