//! `network`: links of network interfaces, what goes through them and what gets lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blocking::Blocking;
use crate::counters::{self, Reading, growth};
use crate::host;
use crate::net::Deadline;
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "share",
        "%",
        "The share of its speed that is in use, of the busier direction; not measured where the speed is not known.",
    ),
    Field::number("in", "B/s", "Bytes received per second."),
    Field::number("out", "B/s", "Bytes sent per second."),
    Field::number("errors", "", "Packets with errors per second, received and sent."),
    Field::number(
        "drops",
        "",
        "Packets dropped per second, received and sent. Some are normal: packets that nobody on the host waits for are dropped.",
    ),
    Field::number("flaps", "", "How often the link came or went since the last run."),
    Field::number("speed", "Mbit/s", "The speed that was agreed on; not measured where it is not known."),
    Field::text(
        "link",
        "`up`, `down`, `disabled` (by the administrator), or another word of the kernel such as `dormant`.",
    ),
    Field::text("duplex", "`full`, `half` or `unknown`."),
    Field::text(
        "type",
        "`physical`, `bond`, `vlan`, `bridge`, `tunnel`, `virtual` (of containers and virtual machines), `loopback` or `other`.",
    ),
];

const LIMITS: &[Limit] = &[
    Limit { field: "link", warning: "", bad: "!up" },
    Limit { field: "duplex", warning: "half", bad: "" },
    Limit { field: "share", warning: "> 90%", bad: "" },
    Limit { field: "errors", warning: "> 1", bad: "" },
    Limit { field: "flaps", warning: "> 0", bad: "" },
];

/// Network interfaces: the link, its speed, what goes through it, errors, and packets that were dropped.
///
/// Throughput, errors and drops are averages per second since the last run; the first run measures for half a second.
///
/// Without `interface`, all interfaces are looked at that are up, or were up in an earlier run and are now down, which is bad. Left out are the loopback
/// interface and those of containers and virtual machines (`veth*`, `docker*`, `br-*`, `virbr*` ..). `except` leaves out more; `only` replaces that
/// choice: `only: { type: [physical, virtual] }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// The interfaces that are looked at, one or a list: `eth0`. One that is not there is bad, as is one whose link is not up. Default: all that are in
    /// use.
    interface: Option<OneOrMore<String>>,
    /// Which interfaces are looked at: globs on the name (`en*`), or conditions on fields. Default: all that are named or in use.
    #[serde(default)]
    only: Filter,
    /// Which interfaces are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `share`; a map has ranges for `share` (percent), `in` and `out` (bytes per second), `errors` and `drops`
    /// (per second), `flaps` (a number) and `speed` (Mbit/s: `< 1000`), and texts for `link`, `duplex` and `type`. Without a word about them, it is a warning
    /// when `share` is above 90%, `errors` above 1, `flaps` above 0, and `duplex` is `half`.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a `link` that is not `up` is bad.
    #[serde(default)]
    bad: Thresholds,
}

/// Some drivers ask the hardware, and wait for it, when they are asked for the speed.
static INTERFACES: Blocking = Blocking::new("monchero-ifaces", 128 * 1024);

impl CheckKind for Network {
    const NAME: &'static str = "network";
    const EXAMPLE: &'static str = "{ interface: [eth0, eth1], warning: { share: 80%, speed: \"< 1000\" } }";
    const SHORT_FOR: Option<&'static str> = Some("interface");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let names = self.interface.iter().flat_map(|names| &names.0);
        if let Some(name) = names.clone().find(|name| name.is_empty() || name.contains('/')) {
            return Err(Invalid::at("interface", format!("`{}` is no name of an interface", escape_controls(name))));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let (last, mut known_up) = match context.recall::<Memory>() {
            Some(memory) => (Some(memory.reading), memory.up),
            None => (None, BTreeSet::new()),
        };
        let deadline = Deadline::of(context);
        let span = counters::of_host(context, last, || self.look(context, deadline)).await?;
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for (name, interface) in &span.now.counters {
            if interface.link == "up" {
                known_up.insert(name.clone());
            }
            if self.is_meant(interface, known_up.contains(name)) {
                let rates = span.earlier.get(name).map(|earlier| rates(earlier, interface, span.seconds));
                judge_interface(&judge, &mut report, name, interface, rates.unwrap_or_default());
            } else {
                report.items.left_out += 1;
            }
        }
        for wanted in self.interface.iter().flat_map(|names| &names.0) {
            if !span.now.counters.contains_key(wanted) {
                report.find(State::Bad, format!("there is no interface {}", escape_controls(wanted)));
            }
        }
        judge.end(&mut report, "interface");
        known_up.retain(|name| span.now.counters.contains_key(name));
        report.remember(&Memory { reading: span.now, up: known_up });
        Ok(report)
    }
}

/// What one run leaves to the next.
#[derive(Serialize, Deserialize)]
struct Memory {
    reading: Reading<Interfaces>,
    /// Which interfaces were up in this run or an earlier one.
    up: BTreeSet<String>,
}

type Interfaces = BTreeMap<String, Interface>;

/// What is known of an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Interface {
    in_bytes: u64,
    out_bytes: u64,
    errors: u64,
    drops: u64,
    /// How often the link came or went.
    changes: u64,
    #[serde(skip)]
    link: String,
    #[serde(skip)]
    duplex: String,
    #[serde(skip)]
    kind: &'static str,
    /// In Mbit/s.
    #[serde(skip)]
    speed: Option<f64>,
}

impl Network {
    async fn look(&self, context: &Context<'_>, deadline: Deadline) -> Result<Interfaces, CheckError> {
        let sysroot = context.sysroot.to_owned();
        let key = sysroot.to_string_lossy().into_owned();
        let call = INTERFACES.call(&key, deadline.left(), move || read(&sysroot));
        let mut interfaces =
            call.await.map_err(|why| CheckError::Unable(format!("reading the interfaces: the kernel {why}")))??;
        if let Some(names) = &self.interface {
            interfaces.retain(|name, _| names.0.contains(name));
        }
        // No more than can be remembered.
        while interfaces.len() > MAX_INTERFACES {
            interfaces.pop_last();
        }
        Ok(interfaces)
    }

    fn is_meant(&self, interface: &Interface, was_up: bool) -> bool {
        if self.interface.is_some() || !self.only.is_empty() {
            return true;
        }
        let in_use = interface.link == "up" || was_up && interface.link != "disabled";
        in_use && !matches!(interface.kind, "loopback" | "virtual")
    }
}

/// How many interfaces are looked at: the counters of so many fit what a check may remember.
const MAX_INTERFACES: usize = 300;

/// Whether an interface has a name that container and virtual machine managers give to theirs.
fn is_of_guests(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "veth",
        "docker",
        "br-",
        "virbr",
        "vnet",
        "tap",
        "cni",
        "flannel",
        "cali",
        "cilium",
        "lxc",
        "lxdbr",
        "incusbr",
        "podman",
        "kube-",
        "nodelocaldns",
        "vmnet",
        "vboxnet",
        "fwbr",
        "fwpr",
        "fwln",
        "ifb",
        "dummy",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

const DEV: &str = "/proc/net/dev";

/// Reads all interfaces.
fn read(sysroot: &Path) -> Result<Interfaces, CheckError> {
    let mut interfaces = parse(&host::read(sysroot, DEV)?);
    for (name, interface) in &mut interfaces {
        // A file may be missing, and reading it fails for an interface that is disabled or has no such property: then that is not known.
        let text = |file: &str| {
            host::read_if_exists(sysroot, &format!("/sys/class/net/{name}/{file}"))
                .ok()
                .flatten()
                .map(|text| text.trim().to_owned())
        };
        let flags = text("flags").and_then(|flags| u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok());
        interface.link = match text("operstate").as_deref() {
            _ if flags.is_some_and(|flags| flags & IFF_UP == 0) => "disabled".to_owned(),
            // Tunnels do not say; the carrier does.
            None | Some("unknown") => if text("carrier").as_deref() == Some("0") { "down" } else { "up" }.to_owned(),
            Some(state) => state.to_owned(),
        };
        interface.duplex = text("duplex").unwrap_or_else(|| "unknown".to_owned());
        interface.speed = text("speed").and_then(|speed| speed.parse().ok()).filter(|speed| *speed > 0.0);
        interface.changes = text("carrier_changes").and_then(|changes| changes.parse().ok()).unwrap_or_default();
        interface.kind = kind(sysroot, name, &text);
    }
    Ok(interfaces)
}

/// `linux/if.h`: the administrator wants it up.
const IFF_UP: u32 = 1;

fn kind(sysroot: &Path, name: &str, text: &impl Fn(&str) -> Option<String>) -> &'static str {
    let has = |file: &str| host::under(sysroot, Path::new(&format!("/sys/class/net/{name}/{file}"))).exists();
    let uevent = text("uevent").unwrap_or_default();
    let is = |wanted: &str| uevent.lines().any(|line| line.strip_prefix("DEVTYPE=") == Some(wanted));
    // `linux/if_arp.h`: ARPHRD_LOOPBACK, and those of tunnels.
    match text("type").as_deref() {
        Some("772") => "loopback",
        _ if is_of_guests(name) => "virtual",
        _ if has("bonding") || is("bond") => "bond",
        _ if is("vlan") => "vlan",
        _ if has("bridge") || is("bridge") => "bridge",
        _ if has("device") => "physical",
        Some("65534" | "512" | "768" | "769" | "776" | "778") => "tunnel",
        _ if is("wireguard") || is("vxlan") => "tunnel",
        _ => "other",
    }
}

/// Reads `/proc/net/dev` (`proc_pid_net(5)`). Lines that are not like that are no interfaces.
fn parse(text: &str) -> Interfaces {
    text.lines()
        .filter_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let numbers: Vec<u64> = numbers.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            let at = |index: usize| numbers.get(index).copied();
            let interface = Interface {
                in_bytes: at(0)?,
                out_bytes: at(8)?,
                errors: at(2)?.saturating_add(at(10)?),
                drops: at(3)?.saturating_add(at(11)?),
                ..Interface::default()
            };
            Some((name.trim().to_owned(), interface))
        })
        .collect()
}

/// What an interface did between two readings; nothing where a counter went backwards.
#[derive(Clone, Copy, Default)]
struct Rates {
    into: Option<f64>,
    out: Option<f64>,
    errors: Option<f64>,
    drops: Option<f64>,
    flaps: Option<f64>,
}

fn rates(earlier: &Interface, now: &Interface, seconds: f64) -> Rates {
    let rate = |of: fn(&Interface) -> u64| growth(of(earlier), of(now)).map(|growth| growth / seconds);
    Rates {
        into: rate(|interface| interface.in_bytes),
        out: rate(|interface| interface.out_bytes),
        errors: rate(|interface| interface.errors),
        drops: rate(|interface| interface.drops),
        flaps: growth(earlier.changes, now.changes),
    }
}

fn judge_interface(judge: &Judge<'_>, report: &mut Report, name: &str, interface: &Interface, rates: Rates) {
    let Rates { into, out, errors, drops, flaps } = rates;
    let busier = into.into_iter().chain(out).reduce(f64::max);
    let share = busier.zip(interface.speed).map(|(bytes, speed)| bytes * 8.0 / (speed * 1e6) * 100.0);
    let numbers = [
        ("share", share),
        ("in", into),
        ("out", out),
        ("errors", errors),
        ("drops", drops),
        ("flaps", flaps),
        ("speed", interface.speed),
    ];
    let mut values: Vec<(&str, Value<'_>)> =
        numbers.into_iter().filter_map(|(label, value)| Some((label, value?.into()))).collect();
    values.push(("link", Value::Text(&interface.link)));
    values.push(("duplex", Value::Text(&interface.duplex)));
    values.push(("type", interface.kind.into()));
    judge.item(report, name, &values, || {
        let speed = interface.speed.map(|speed| format!(" at {} Mbit/s", trim(speed))).unwrap_or_default();
        let rate = |value: f64| human(value, &Unit::BYTES);
        let traffic = into.zip(out).map(|(into, out)| format!(", {}/s in, {}/s out", rate(into), rate(out)));
        format!("{}{speed}{}", escape_controls(&interface.link), traffic.unwrap_or_default())
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_of_an_interface() {
        let text = "Inter-| Receive\n face |bytes\n  eth0: 1000 5 1 2 0 0 0 0 500 5 3 4 0 0 0 0\nbroken: 1 2\n";
        let earlier = parse(text);
        assert_eq!(earlier.keys().collect::<Vec<_>>(), ["eth0"]);
        let earlier = &earlier["eth0"];
        assert_eq!((earlier.errors, earlier.drops), (4, 6));
        let now = Interface { in_bytes: 2_000, out_bytes: 100, errors: 14, ..earlier.clone() };
        let rates = rates(earlier, &now, 10.0);
        assert_eq!((rates.into, rates.out, rates.errors, rates.drops), (Some(100.0), None, Some(1.0), Some(0.0)));
    }

    #[test]
    fn fuzzed_counters_of_interfaces() {
        crate::fuzz::on_text("proc_net_dev", |text| {
            let interfaces = parse(text);
            assert!(interfaces.len() <= text.lines().count());
            for interface in interfaces.values() {
                let still = rates(interface, interface, 1.0);
                assert!([still.into, still.out, still.errors].into_iter().flatten().all(|rate| rate.abs() < 1e-9));
                let _ = rates(&Interface::default(), interface, 0.001);
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-0-9a-z: \n]{0,200}") {
            parse(&text);
        }
    }
}
