//! Objects with what their templates give them, and who is a member of which group.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::{Imported, Lost};
use super::lines::{Directives, Object};

/// How many templates may stand behind each other.
const MAX_DEPTH: usize = 32;
/// The longest list that templates add up to with `+`, in bytes.
const MAX_ADDED: usize = 32 * 1024;

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    all: Vec<Object>,
    /// Templates by kind and name.
    templates: BTreeMap<(String, String), usize>,
    resolved: BTreeMap<usize, Rc<Directives>>,
}

/// An object after its templates.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) kind: String,
    pub(super) place: super::super::Place,
    pub(super) directives: Rc<Directives>,
}

impl Resolved {
    /// The text of a directive.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.directives.get(name).map(|(text, _)| &**text)
    }

    /// The parts of a list.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        split(self.get(name).unwrap_or_default())
    }

    /// Where a directive stands.
    pub(super) fn at(&self, name: &str) -> &super::super::Place {
        self.directives.get(name).map_or(&self.place, |(_, place)| place)
    }
}

/// The parts of a list with commas.
pub(super) fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

impl Objects {
    pub(super) fn add(&mut self, object: Object) {
        if let Some((name, _)) = object.directives.get("name") {
            self.templates.insert((object.kind.clone(), name.to_string()), self.all.len());
        }
        self.all.push(object);
    }

    /// Every object that is no template only.
    pub(super) fn resolve(&mut self, out: &mut Imported) -> Vec<Resolved> {
        let mut found = Vec::new();
        for index in 0..self.all.len() {
            let registered = self.all[index].directives.get("register").is_none_or(|(value, _)| &**value != "0");
            if registered {
                let directives = without_null(self.inherit(index, &mut Vec::new(), out));
                let object = &self.all[index];
                found.push(Resolved { kind: object.kind.clone(), place: object.place.clone(), directives });
            }
        }
        found
    }

    fn inherit(&mut self, index: usize, path: &mut Vec<usize>, out: &mut Imported) -> Rc<Directives> {
        if let Some(known) = self.resolved.get(&index) {
            return Rc::clone(known);
        }
        let object = &self.all[index];
        let kind = object.kind.clone();
        let mut merged = object.directives.clone();
        let used = merged.get("use").cloned();
        path.push(index);
        for name in used.iter().flat_map(|(list, _)| split(list)) {
            let place = used.as_ref().map_or_else(|| self.all[index].place.clone(), |(_, place)| place.clone());
            let lose = |out: &mut Imported, why: &str| out.lost.push(Lost::new(&place, &format!("use {name}"), why));
            match self.templates.get(&(kind.clone(), name.to_owned())).copied() {
                None => lose(out, "there is no template of that name"),
                Some(template) if path.contains(&template) => lose(out, "the template uses itself"),
                Some(_) if path.len() >= MAX_DEPTH => lose(out, &format!("templates are followed {MAX_DEPTH} deep")),
                Some(template) => {
                    let inherited = self.inherit(template, path, out);
                    for list in merge(&mut merged, &inherited) {
                        lose(
                            out,
                            &format!(
                                "`{list}` adds up to more than {MAX_ADDED} bytes, and what this one adds was left out"
                            ),
                        );
                    }
                }
            }
        }
        path.pop();
        let rc = Rc::new(merged);
        self.resolved.insert(index, Rc::clone(&rc));
        rc
    }
}

/// What takes an inherited value away.
const NULL: &str = "null";

/// Values that were taken away are empty, and not what something else gives instead.
fn without_null(mut directives: Rc<Directives>) -> Rc<Directives> {
    if directives.values().any(|(value, _)| &**value == NULL) {
        for (value, _) in Rc::make_mut(&mut directives).values_mut().filter(|(value, _)| &**value == NULL) {
            *value = "".into();
        }
    }
    directives
}

/// Takes what is not said nearer; a list that begins with `+` is added to. The answer is the lists that would be too long.
fn merge(own: &mut Directives, inherited: &Directives) -> Vec<String> {
    let mut too_long = Vec::new();
    for (name, (value, place)) in inherited {
        if ["name", "use", "register"].contains(&name.as_str()) {
            continue;
        }
        match own.get_mut(name) {
            None => drop(own.insert(name.clone(), (Rc::clone(value), place.clone()))),
            Some((mine, _)) if mine.starts_with('+') && mine.len() + value.len() >= MAX_ADDED => {
                too_long.push(name.clone());
            }
            Some((mine, _)) if mine.starts_with('+') => {
                let more = if &**value == NULL { "" } else { value.trim_start_matches('+') };
                let plus = if value.starts_with('+') { "+" } else { "" };
                *mine = format!("{plus}{},{more}", mine.trim_start_matches('+')).into();
            }
            Some(_) => {}
        }
    }
    too_long
}

/// Which hosts are members of which groups; the same for contacts.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: BTreeMap<String, BTreeSet<String>>,
}

/// The words for one sort of members.
pub(super) struct Words {
    pub(super) group: &'static str,
    pub(super) group_name: &'static str,
    pub(super) nested: &'static str,
    pub(super) member: &'static str,
    pub(super) member_name: &'static str,
    pub(super) groups_of_member: &'static str,
}

impl Groups {
    /// Reads both sides: groups that name members, and members that name groups.
    pub(super) fn read(objects: &[Resolved], words: &Words) -> Self {
        let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut nested: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all: Vec<&str> = objects
            .iter()
            .filter(|object| object.kind == words.member)
            .filter_map(|o| o.get(words.member_name))
            .collect();
        for object in objects {
            if object.kind == words.group
                && let Some(group) = object.get(words.group_name)
            {
                let own = members.entry(group.to_owned()).or_default();
                for member in object.list("members") {
                    match member {
                        "*" => own.extend(all.iter().map(|name| (*name).to_owned())),
                        member => drop(own.insert(member.trim_start_matches('+').to_owned())),
                    }
                }
                nested.entry(group.to_owned()).or_default().extend(object.list(words.nested).map(str::to_owned));
            } else if object.kind == words.member
                && let Some(member) = object.get(words.member_name)
            {
                for group in object.list(words.groups_of_member) {
                    let group = group.trim_start_matches('+');
                    members.entry(group.to_owned()).or_default().insert(member.to_owned());
                }
            }
        }
        let mut groups = Self { members };
        let names: Vec<String> = nested.keys().cloned().collect();
        for name in names {
            groups.absorb(&name, &nested);
        }
        groups
    }

    /// Adds the members of all groups in a group.
    fn absorb(&mut self, name: &str, nested: &BTreeMap<String, Vec<String>>) {
        let mut seen: BTreeSet<&str> = BTreeSet::from([name]);
        let mut waiting: Vec<&str> = vec![name];
        let mut all: BTreeSet<String> = BTreeSet::new();
        while let Some(group) = waiting.pop() {
            all.extend(self.members.get(group).into_iter().flatten().cloned());
            for inner in nested.get(group).into_iter().flatten() {
                if seen.insert(inner) {
                    waiting.push(inner);
                }
            }
        }
        self.members.entry(name.to_owned()).or_default().extend(all);
    }

    /// The members of a group; none if there is no such group.
    pub(super) fn members(&self, group: &str) -> Option<&BTreeSet<String>> {
        self.members.get(group)
    }

    /// The groups that somebody is in.
    pub(super) fn of<'a>(&'a self, member: &'a str) -> impl Iterator<Item = &'a str> {
        self.members.iter().filter(move |(_, members)| members.contains(member)).map(|(group, _)| group.as_str())
    }
}
