//! What many checks have alike is kept once: ten thousand checks of one file share their labels, actions and dependencies. Also fingerprints.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use monchero_core::Name;
use monchero_core::definition::Settings;
use monchero_core::incident::stable_hash;
use monchero_core::node::{Node, Value};

/// Labels of a check.
pub(crate) type Labels = BTreeMap<String, String>;

/// Finds what is already there.
#[derive(Default)]
pub(crate) struct Pool {
    names: HashSet<Name>,
    lists: HashSet<Arc<[Name]>>,
    labels: HashSet<Arc<Labels>>,
    settings: HashSet<Arc<Settings>>,
}

impl Pool {
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(known) = self.names.get(text) {
            return known.clone();
        }
        let name = Name::new(text);
        self.names.insert(name.clone());
        name
    }

    pub(crate) fn list(&mut self, names: &[Name]) -> Arc<[Name]> {
        if let Some(known) = self.lists.get(names) {
            return known.clone();
        }
        let list: Arc<[Name]> = Arc::from(names);
        self.lists.insert(list.clone());
        list
    }

    pub(crate) fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        if let Some(known) = self.labels.get(&labels) {
            return known.clone();
        }
        let shared = Arc::new(labels);
        self.labels.insert(shared.clone());
        shared
    }

    pub(crate) fn settings(&mut self, settings: Settings) -> Arc<Settings> {
        if let Some(known) = self.settings.get(&settings) {
            return known.clone();
        }
        let shared = Arc::new(settings);
        self.settings.insert(shared.clone());
        shared
    }
}

/// Collects what makes a definition what it is, and makes a number of it that is the same in every run and on every machine.
#[derive(Default)]
pub(crate) struct Fingerprint(Vec<u8>);

impl Fingerprint {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Settings as they are written; where they stand does not matter.
    pub(crate) fn node(&mut self, node: &Node) {
        match &node.value {
            Value::Null => self.0.push(b'0'),
            Value::Scalar { text, quoted } => {
                self.0.push(if *quoted { b'"' } else { b'\'' });
                self.bytes(text.as_bytes());
            }
            Value::List(items) => {
                self.0.push(b'[');
                for item in items {
                    self.node(item);
                }
                self.0.push(b']');
            }
            Value::Map(entries) => {
                self.0.push(b'{');
                for (key, value) in entries {
                    self.bytes(key.name.as_bytes());
                    self.node(value);
                }
                self.0.push(b'}');
            }
        }
    }

    pub(crate) fn finish(&self) -> u64 {
        stable_hash(&[&self.0])
    }
}
