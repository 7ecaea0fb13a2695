//! The table of entries: places are reused, lives are not.

use std::collections::BTreeMap;

use monchero_core::Name;

use crate::entry::{Entry, Id};

/// All entries, by place and by name.
#[derive(Debug, Default)]
pub(crate) struct Table {
    places: Vec<Option<Entry>>,
    free: Vec<u32>,
    names: BTreeMap<Name, Id>,
    lives: u32,
}

impl Table {
    /// Makes room for exactly so many more: a table that doubles would keep half of itself empty.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.places.reserve_exact(more);
    }

    /// A number for the next life.
    pub(crate) fn next_life(&mut self) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        self.lives
    }

    /// Takes an entry in under its name; the name must be free.
    pub(crate) fn insert(&mut self, entry: Entry) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let id = Id { index, life: entry.life };
        self.names.insert(entry.row.name.clone(), id);
        self.places[index as usize] = Some(entry);
        id
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: Id) -> Option<Entry> {
        self.get(id)?;
        let entry = self.places.get_mut(id.index as usize)?.take()?;
        self.names.remove(&entry.row.name);
        self.free.push(id.index);
        Some(entry)
    }

    /// The entry, if that life still goes on.
    pub(crate) fn get(&self, id: Id) -> Option<&Entry> {
        self.at(id.index).filter(|entry| entry.life == id.life)
    }

    /// The entry, to change it.
    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.at_mut(id.index).filter(|entry| entry.life == id.life)
    }

    /// Whatever entry is at a place.
    pub(crate) fn at(&self, index: u32) -> Option<&Entry> {
        self.places.get(index as usize)?.as_ref()
    }

    /// Whatever entry is at a place, to change it.
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    /// The entry of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Id> {
        self.names.get(name).copied()
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&Name, Id)> {
        self.names.iter().map(|(name, id)| (name, *id))
    }

    /// The entries of the services of a check: those whose names begin with `check/` and that say so.
    pub(crate) fn services<'a>(&'a self, check: &'a Name) -> impl Iterator<Item = Id> + 'a {
        let from = Name::new(&format!("{check}/"));
        self.names
            .range(from..)
            .take_while(move |(name, _)| {
                name.as_str().strip_prefix(check.as_str()).is_some_and(|rest| rest.starts_with('/'))
            })
            .filter(move |(_, id)| self.get(**id).is_some_and(|entry| entry.row.parent.as_ref() == Some(check)))
            .map(|(_, id)| *id)
    }

    /// All entries, in the order of their names.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &Entry> {
        self.names.values().filter_map(|id| self.get(*id))
    }

    /// All entries.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.places.iter_mut().flatten()
    }

    /// How many places there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
