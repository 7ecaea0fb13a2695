//! The kinds of actions, one file each.

mod alive;
mod template;
mod validated;
mod web;
mod wording;
pub mod words;

mod alertmanager;
mod apprise;
mod command;
mod discord;
mod email;
mod file;
mod gotify;
mod journal;
mod matrix;
mod mattermost;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod pushover;
mod script;
mod slack;
mod syslog;
mod teams;
mod telegram;
mod webhook;

use monchero_core::action::ActionKind;

pub use alive::Alive;
pub use file::put_aside;
pub use journal::journal_entry;

/// Every kind of action, in the order of the manual.
pub const KINDS: &[ActionKind] = &[
    ActionKind::script::<script::Script>(),
    ActionKind::target::<alertmanager::Alertmanager>(),
    ActionKind::target::<apprise::Apprise>(),
    ActionKind::target::<command::Command>(),
    ActionKind::target::<discord::Discord>(),
    ActionKind::target::<email::Email>(),
    ActionKind::target::<file::File>(),
    ActionKind::target::<gotify::Gotify>(),
    ActionKind::target::<journal::Journal>(),
    ActionKind::target::<matrix::Matrix>(),
    ActionKind::target::<mattermost::Mattermost>(),
    ActionKind::target::<ntfy::Ntfy>(),
    ActionKind::target::<opsgenie::Opsgenie>(),
    ActionKind::target::<pagerduty::Pagerduty>(),
    ActionKind::target::<pushover::Pushover>(),
    ActionKind::target::<mattermost::Rocketchat>(),
    ActionKind::target::<slack::Slack>(),
    ActionKind::target::<syslog::Syslog>(),
    ActionKind::target::<teams::Teams>(),
    ActionKind::target::<telegram::Telegram>(),
    ActionKind::target::<webhook::Webhook>(),
];
