//! Contacts to targets: one for each contact and what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use monchero_core::order;

use super::super::{Imported, Item, Setting, Taken};
use super::objects::{Groups, Resolved, Words};

const CONTACTS: Words = Words {
    group: "contactgroup",
    group_name: "contactgroup_name",
    nested: "contactgroup_members",
    member: "contact",
    member_name: "contact_name",
    groups_of_member: "contactgroups",
};

/// What a check says about its notices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wishes {
    /// Of `warning`, `unknown` and `bad`; empty for all of them.
    pub(super) states: Vec<&'static str>,
    pub(super) remind: Duration,
    pub(super) delay: Duration,
    /// When nobody is told, from and to.
    pub(super) quiet: Option<(String, String)>,
    /// Whether it is about a host, for which contacts have settings of their own.
    pub(super) host: bool,
}

pub(super) struct Contacts<'a> {
    known: BTreeMap<&'a str, &'a Resolved>,
    groups: Groups,
    periods: BTreeMap<&'a str, &'a Resolved>,
    made: BTreeMap<(String, Wishes), Option<String>>,
}

/// The days of the week, as timeperiods name them.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl<'a> Contacts<'a> {
    pub(super) fn new(objects: &'a [Resolved]) -> Self {
        let named = |kind: &'static str, name: &'static str| {
            objects
                .iter()
                .filter(move |object| object.kind == kind)
                .filter_map(move |object| Some((object.get(name)?, object)))
                .collect()
        };
        Self {
            known: named("contact", "contact_name"),
            groups: Groups::read(objects, &CONTACTS),
            periods: named("timeperiod", "timeperiod_name"),
            made: BTreeMap::new(),
        }
    }

    /// The names of all contacts that an object names, itself and by groups; those that do not exist are noted.
    pub(super) fn of(&self, object: &Resolved, out: &mut Vec<(&'static str, String)>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for contact in object.list("contacts") {
            let contact = contact.trim_start_matches('+');
            if self.known.contains_key(contact) {
                found.insert(contact.to_owned());
            } else {
                out.push(("contacts", format!("there is no contact `{contact}`")));
            }
        }
        for group in object.list("contact_groups") {
            let group = group.trim_start_matches('+');
            match self.groups.members(group) {
                Some(members) => {
                    found.extend(members.iter().filter(|name| self.known.contains_key(name.as_str())).cloned());
                }
                None => out.push(("contact_groups", format!("there is no contact group `{group}`"))),
            }
        }
        found
    }

    /// The hours without notices that a period leaves each day: none if it covers all.
    pub(super) fn quiet(&self, period: &str) -> Result<Option<(String, String)>, &'static str> {
        if matches!(period, "24x7" | "") && !self.periods.contains_key(period) {
            return Ok(None);
        }
        let object = self.periods.get(period).ok_or("there is no such timeperiod")?;
        let own = |name: &str| !["timeperiod_name", "alias", "name", "use", "register"].contains(&name);
        let hours: BTreeSet<&str> = order::tree(DAYS.iter().filter_map(|day| object.get(day)));
        let daily = DAYS.iter().all(|day| object.get(day).is_some())
            && object.directives.keys().filter(|name| own(name)).all(|name| DAYS.contains(&name.as_str()));
        let mut hours = hours.into_iter();
        match (hours.next(), hours.next()) {
            (Some("00:00-24:00"), None) if daily => Ok(None),
            (Some(range), None) if daily => {
                let (from, to) = range
                    .split_once('-')
                    .filter(|_| !range.contains(','))
                    .ok_or("only one stretch of each day can be translated, as `quiet`")?;
                let clock = |text: &str| if text == "24:00" { "00:00".to_owned() } else { text.to_owned() };
                Ok(Some((clock(to), clock(from))))
            }
            _ => Err("only the same hours of every day can be translated, as `quiet` of an action"),
        }
    }

    /// The action that tells a contact; none if it cannot be, or is told nothing.
    pub(super) fn action(
        &mut self,
        contact: &str,
        wishes: Wishes,
        taken: &mut Taken,
        out: &mut Imported,
    ) -> Option<String> {
        let key = (contact.to_owned(), wishes);
        if let Some(known) = self.made.get(&key) {
            return known.clone();
        }
        let object = *self.known.get(contact)?;
        let item = self.make(contact, object, &key.1, taken, out);
        let name = item.as_ref().map(|item| item.name.clone());
        out.actions.extend(item);
        self.made.insert(key, name.clone());
        name
    }

    fn make(
        &self,
        contact: &str,
        object: &Resolved,
        wishes: &Wishes,
        taken: &mut Taken,
        out: &mut Imported,
    ) -> Option<Item> {
        let sort = if wishes.host { "host" } else { "service" };
        let directive = |end: &str| format!("{sort}_notification{end}");
        if object.get(&directive("s_enabled")) == Some("0") {
            return None;
        }
        let states = match states(object.get(&directive("_options")), wishes.host) {
            own if own.is_empty() => return None,
            own if wishes.states.is_empty() => own,
            own => own.into_iter().filter(|state| wishes.states.contains(state)).collect(),
        };
        if states.is_empty() {
            return None;
        }
        let commands = object.get(&directive("_commands")).unwrap_or_default();
        let by_mail = commands.is_empty() || commands.to_lowercase().contains("mail");
        let Some(email) = object.get("email").filter(|email| by_mail && !email.is_empty()) else {
            let place = object.at(&directive("_commands")).clone();
            let why = "only mail is translated: write an action of the kind that fits, or of the kind `command`";
            out.lose(&place, &format!("contact {contact}: {commands}"), why);
            return None;
        };
        let to: Vec<&str> = super::objects::split(email).collect();
        let settings = if let [one] = to.as_slice() { Setting::from(*one) } else { to.into() };
        let settings = Setting::map([("to", settings)]);
        let mut item = Item::new(taken.actions.take(contact), "email", settings, &object.place);
        if let Some(alias) = object.get("alias") {
            item.comments.push(alias.to_owned());
        }
        if states.len() < 3 && !wishes.host {
            item.set("states", states);
        }
        if !wishes.remind.is_zero() {
            item.set("remind", wishes.remind);
        }
        if !wishes.delay.is_zero() {
            item.set("delay", wishes.delay);
        }
        self.quiet_hours(object, &directive("_period"), wishes, &mut item);
        Self::rest(object, commands, &mut item);
        Some(item)
    }

    fn quiet_hours(&self, object: &Resolved, directive: &str, wishes: &Wishes, item: &mut Item) {
        let own = object.get(directive).map_or(Ok(None), |period| self.quiet(period));
        let quiet = match (own, &wishes.quiet) {
            (Err(why), of_check) => {
                item.lose(
                    object.at(directive),
                    &format!("{directive} {}", object.get(directive).unwrap_or_default()),
                    why,
                );
                of_check.clone()
            }
            (Ok(Some(own)), Some(other)) if own != *other => {
                item.lose(
                    object.at(directive),
                    directive,
                    "the check has another period; an action has one stretch of `quiet` hours",
                );
                Some(own)
            }
            (Ok(own), of_check) => own.or_else(|| of_check.clone()),
        };
        if let Some((from, to)) = quiet {
            let quoted = |time: String| Setting::Plain(format!("{time:?}"));
            item.set("quiet", Setting::map([("from", quoted(from)), ("to", quoted(to))]));
        }
    }

    /// What else a contact has.
    fn rest(object: &Resolved, commands: &str, item: &mut Item) {
        for (name, (value, place)) in object.directives.iter() {
            let has_meaning = name == "pager"
                || name.starts_with("address")
                || name == "minimum_importance"
                || name == "minimum_value";
            if has_meaning {
                item.lose(place, &format!("{name} {value}"), "only the mail address is used");
            }
        }
        if commands.contains(',') {
            item.lose(object.at("service_notification_commands"), commands, "only the mail is translated");
        }
        let without_recovery = ["service_notification_options", "host_notification_options"]
            .into_iter()
            .find(|name| object.get(name).is_some_and(|options| !letters(options).contains(&'r')));
        if let Some(name) = without_recovery {
            item.lose(object.at(name), &format!("{name} {}", object.get(name).unwrap_or_default()), RECOVERY);
        }
    }
}

/// Why no option for recoveries is kept.
pub(super) const RECOVERY: &str = "whoever is told of a problem is told of its end, too";

/// The first letters of options, which may be words.
pub(super) fn letters(options: &str) -> Vec<char> {
    super::objects::split(options).filter_map(|word| word.chars().next()).collect()
}

/// The states that options name; all if there are none.
pub(super) fn states(options: Option<&str>, host: bool) -> Vec<&'static str> {
    let letters = letters(options.filter(|options| !options.is_empty()).unwrap_or("d,w,u,c"));
    let all = [('w', "warning"), ('u', "unknown"), ('c', "bad")];
    if letters.contains(&'a') {
        return vec!["warning", "unknown", "bad"];
    }
    if host {
        return if letters.contains(&'d') { vec!["warning", "unknown", "bad"] } else { Vec::new() };
    }
    all.into_iter().filter(|(letter, _)| letters.contains(letter)).map(|(_, state)| state).collect()
}
