//! `systemd` and `time` against a bus of Debian's `dbus-daemon` on which a scripted systemd answers, and against buses that misbehave.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{NoPrograms, PlainSecrets};
use monchero_core::State;
use monchero_core::report::ServiceResult;
use zbus::export::futures_core::Stream as _;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, ObjectPath, Variant};

const DAEMON: &str = "/usr/bin/dbus-daemon";

/// A bus of its own.
struct Bus {
    daemon: Child,
    directory: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("bus.conf");
        let socket = directory.path().join("bus");
        let text = format!(
            "<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy></busconfig>",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(DAEMON);
        // It complains that it may not have more descriptors.
        command.stderr(Stdio::null());
        command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--nopidfile", "--print-address"]);
        #[expect(clippy::disallowed_methods, reason = "it is ended when the test is over")]
        let mut daemon = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|why| panic!("{DAEMON}: {why}; the package `dbus-daemon` has it"));
        // It says its address when it listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("unix:"), "{DAEMON} says `{line}`");
        Self { daemon, directory }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("bus")
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A unit as the scripted systemd has it: load, active and sub state, and its properties.
type Unit = (&'static str, &'static str, &'static str, Vec<(&'static str, Variant<'static>)>);

fn units() -> BTreeMap<&'static str, Unit> {
    // An hour before the clock of all tests.
    let since = Variant::U64(1_780_268_400_000_000);
    let service = |result: &'static str, restarts: u32| {
        vec![
            ("StateChangeTimestamp", since.try_clone().unwrap()),
            ("NRestarts", Variant::U32(restarts)),
            ("MemoryCurrent", Variant::U64(64 * 1024 * 1024)),
            ("TasksCurrent", Variant::U64(u64::MAX)),
            ("Result", Variant::from(result)),
        ]
    };
    BTreeMap::from([
        ("nginx.service", ("loaded", "active", "running", service("success", 0))),
        ("shop@a.service", ("loaded", "active", "running", service("success", 7))),
        ("shop@b.service", ("loaded", "failed", "failed", service("exit-code", 7))),
        ("loop.service", ("loaded", "activating", "auto-restart", service("signal", 3))),
        ("old.service", ("masked", "inactive", "dead", Vec::new())),
        ("job.service", ("loaded", "inactive", "dead", service("success", 0))),
        ("evil.service", ("loaded", "failed", "\u{1b}[2J", Vec::new())),
        (
            "job.timer",
            (
                "loaded",
                "active",
                "waiting",
                vec![
                    ("LastTriggerUSec", Variant::U64(1_780_268_400_000_000)),
                    ("NextElapseUSecRealtime", Variant::U64(1_780_279_200_000_000)),
                    ("Result", Variant::from("success")),
                ],
            ),
        ),
    ])
}

fn row<'n>(name: &'n str, unit: Option<&Unit>) -> impl serde::Serialize + zbus::DynamicType + zbus::Type + use<'n> {
    let (load, active, sub) = unit.map_or(("not-found", "inactive", "dead"), |unit| (unit.0, unit.1, unit.2));
    let path = |path: String| ObjectPath::try_from(path).unwrap();
    let own = path(format!("/unit/{}", name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()));
    (name, "what it is", load, active, sub, "", own, 0_u32, "", path("/".to_owned()))
}

/// What systemd answers.
async fn answer(connection: &Connection, units: &BTreeMap<&'static str, Unit>, call: &Message) {
    let header = call.header();
    let body = call.body();
    match header.member().unwrap().as_str() {
        "ListUnitsByNames" => {
            let (names,): (Vec<&str>,) = body.deserialize().unwrap();
            let rows: Vec<_> = names.iter().map(|name| row(name, units.get(name))).collect();
            connection.reply(&header, &rows).await.unwrap();
        }
        "ListUnitsByPatterns" => {
            let (states, globs): (Vec<&str>, Vec<&str>) = body.deserialize().unwrap();
            let fits = |name: &str, unit: &Unit| {
                (states.is_empty() || states.contains(&unit.1))
                    && (globs.is_empty() || globs.iter().any(|glob| monchero_core::text::glob(glob, name)))
            };
            let rows: Vec<_> = units
                .iter()
                .filter(|(name, unit)| fits(name, unit))
                .map(|(name, unit)| row(name, Some(unit)))
                .collect();
            connection.reply(&header, &rows).await.unwrap();
        }
        "Get" => {
            let (_, property): (&str, &str) = body.deserialize().unwrap();
            let name = header.path().unwrap().as_str().strip_prefix("/unit/").unwrap();
            let is = |unit: &str| unit.bytes().map(|byte| format!("{byte:02x}")).collect::<String>() == name;
            let unit = units.iter().find(|(unit, _)| is(unit)).unwrap().1;
            let value = unit.3.iter().find(|(name, _)| *name == property);
            if let Some((_, value)) = value {
                connection.reply(&header, value).await.unwrap();
            } else {
                let error = "org.freedesktop.DBus.Error.UnknownProperty";
                connection.reply_error(&header, error, &"no such property").await.unwrap();
            }
        }
        other => panic!("nobody should call `{other}`"),
    }
}

/// A bus on which systemd answers until the test ends.
async fn bus_with_systemd(units: BTreeMap<&'static str, Unit>) -> Bus {
    let bus = Bus::start();
    let address = format!("unix:path={}", bus.socket().display());
    let builder = zbus::connection::Builder::address(address.as_str()).name("org.freedesktop.systemd1");
    let connection = builder.build().await.unwrap();
    let mut calls = MessageStream::from(&connection);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| Pin::new(&mut calls).poll_next(cx)).await {
            if message.message_type() == Type::MethodCall {
                answer(&connection, &units, &message).await;
            }
        }
    });
    bus
}

/// A host on whose bus `timedated` says this.
async fn host_with_timedated(says: Variant<'static>) -> Bus {
    let bus = Bus::start();
    let address = format!("unix:path={}", bus.socket().display());
    let builder = zbus::connection::Builder::address(address.as_str()).name("org.freedesktop.timedate1");
    let connection = builder.build().await.unwrap();
    let mut calls = MessageStream::from(&connection);
    tokio::spawn(async move {
        while let Some(Ok(call)) = std::future::poll_fn(|cx| Pin::new(&mut calls).poll_next(cx)).await {
            if call.message_type() == Type::MethodCall {
                let body = call.body();
                let (interface, property): (&str, &str) = body.deserialize().unwrap();
                assert_eq!((interface, property), ("org.freedesktop.timedate1", "NTPSynchronized"));
                connection.reply(&call.header(), &says).await.unwrap();
            }
        }
    });
    let run = bus.directory.path().join("run/dbus");
    std::fs::create_dir_all(&run).unwrap();
    std::os::unix::fs::symlink(bus.socket(), run.join("system_bus_socket")).unwrap();
    bus
}

async fn time_on(host: &Path, settings: &str) -> ServiceResult {
    let check = common::kind("time").build(&common::yaml(settings), &PlainSecrets).unwrap();
    common::run_in(&*check, &common::context(host, LONG, &NoPrograms)).await.result
}

#[tokio::test]
async fn without_servers_the_kernel_is_asked_about_the_clock() {
    for (says, settings, state, message) in [
        (Variant::Bool(true), "{}", State::Okay, "the kernel calls the clock synchronised"),
        (
            Variant::Bool(false),
            "{}",
            State::Warning,
            "synchronised is no (the kernel calls the clock not synchronised)",
        ),
        (Variant::Bool(false), "{ bad: \"no\" }", State::Bad, "synchronised is no"),
        (Variant::U32(1), "{}", State::Unknown, "it answers something else than yes or no"),
    ] {
        let bus = host_with_timedated(says).await;
        let result = time_on(bus.directory.path(), settings).await;
        assert!(result.state == state && result.message.contains(message), "{settings}: {result:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let result = time_on(empty.path(), "{}").await;
    assert_eq!(result.state, State::Unknown, "{result:?}");
    assert!(
        result.message.contains("there is no such socket") && result.message.contains("name `servers`"),
        "{result:?}"
    );
}

async fn run(settings: &str, socket: &Path, timeout: Duration) -> ServiceResult {
    let settings = format!("{{ bus: {}, {settings} }}", socket.display());
    let check = common::kind("systemd").build(&common::yaml(&settings), &PlainSecrets);
    let check = check.unwrap_or_else(|why| panic!("{why}\n{settings}"));
    let start = Instant::now();
    let result = common::run_in(&*check, &common::context(Path::new("/"), timeout, &NoPrograms)).await.result;
    assert!(start.elapsed() < timeout + Duration::from_millis(500), "it took {:?}", start.elapsed());
    result
}

const LONG: Duration = Duration::from_secs(10);

fn value(result: &ServiceResult, label: &str) -> Option<f64> {
    result.metrics.iter().find(|metric| &*metric.label == label)?.value
}

#[tokio::test]
async fn units_are_judged_by_their_state() {
    let bus = bus_with_systemd(units()).await;
    for (settings, state, message) in [
        ("unit: nginx", State::Okay, "nginx.service: active (running) for 1h, 64 MiB"),
        ("unit: [nginx, job.timer]", State::Okay, "job.timer: active (waiting), next in 2h"),
        ("unit: [nginx, gone]", State::Bad, "gone.service does not exist: systemd knows no unit of this name"),
        ("unit: old", State::Bad, "old.service is masked, so it cannot be started: `systemctl unmask old.service`"),
        (
            "unit: loop",
            State::Warning,
            "loop.service is activating (auto-restart, signal) for 1h, restarted 3 times, not active: see `journalctl -u loop.service`",
        ),
        (
            "unit: shop@*",
            State::Bad,
            "shop@b.service is failed (exit-code) for 1h, not active: see `journalctl -u shop@b.service`",
        ),
        ("unit: nothing*", State::Bad, "no unit that is loaded fits `nothing*`"),
        ("unit: shop@*, except: { active: failed }", State::Okay, "shop@a.service: active"),
        ("unit: shop@a, warning: \"> 5\"", State::Warning, "shop@a.service restarts is 7, above 5"),
        ("unit: nginx, bad: { memory: \"> 10MiB\" }", State::Bad, "nginx.service memory is 64 MiB, above 10 MiB"),
        ("unit: job.timer, bad: { last: \"> 30m\" }", State::Bad, "job.timer last is 1h, above 30m"),
        ("unit: job", State::Bad, "job.service is inactive (dead) for 1h, not active"),
        ("unit: job, state: [active, inactive]", State::Okay, "job.service: inactive"),
        ("unit: shop@b, warning: { result: exit-code }, state: failed", State::Warning, "result is exit-code"),
        (
            "except: \"evil*\"",
            State::Bad,
            "shop@b.service is failed (exit-code) for 1h: see `systemctl status shop@b.service`",
        ),
        ("only: \"evil*\"", State::Bad, "evil.service is failed (\\e[2J): see"),
        ("except: { active: failed }", State::Okay, "no unit has failed"),
    ] {
        let result = run(settings, &bus.socket(), LONG).await;
        assert!(result.state == state && result.message.contains(message), "{settings}: {result:?}");
        assert!(!result.message.contains('\u{1b}'), "{result:?}");
    }
    let result = run("unit: nginx", &bus.socket(), LONG).await;
    assert_eq!(value(&result, "nginx.service memory"), Some(67_108_864.0));
    assert_eq!(value(&result, "nginx.service tasks"), None, "it is not counted");
}

#[tokio::test]
async fn no_connection_is_left_behind() {
    let bus = bus_with_systemd(units()).await;
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run("unit: nginx", &bus.socket(), LONG).await;
    let before = count();
    for _ in 0..30 {
        run("unit: nginx", &bus.socket(), LONG).await;
    }
    let deadline = Instant::now() + LONG;
    while count() > before + 5 {
        assert!(Instant::now() < deadline, "{} descriptors were open, {before} before", count());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bus_without_systemd_is_unknown() {
    let bus = Bus::start();
    let result = run("unit: nginx", &bus.socket(), LONG).await;
    assert_eq!(result.state, State::Unknown, "{result:?}");
    assert!(result.message.contains("org.freedesktop.systemd1"), "{result:?}");
    let socket = bus.socket();
    drop(bus);
    let result = run("unit: nginx", &socket, LONG).await;
    assert_eq!(result.state, State::Unknown, "{result:?}");
}

/// A bus that does with each connection what the function says.
fn hostile(serve: impl Fn(UnixStream) + Send + Sync + 'static) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("bus")).unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    directory
}

/// Reads until the client has said `BEGIN` and sent its first message.
fn let_in(stream: &mut UnixStream) {
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    while !seen.ends_with(b"\r\n") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the client went away");
        seen.extend_from_slice(&piece[..count]);
    }
    stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n").unwrap();
    while !seen.windows(5).any(|window| window == b"Hello") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "the client went away");
        seen.extend_from_slice(&piece[..count]);
    }
}

/// Keeps the connection open until the other side ends it.
fn hold(mut stream: UnixStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn hostile_buses_are_unknown_in_time() {
    let short = Duration::from_secs(1);
    let silent = hostile(hold);
    let result = run("unit: nginx", &silent.path().join("bus"), short).await;
    assert!(result.state == State::Unknown && result.message.contains("no answer within 950ms"), "{result:?}");

    let refuses = hostile(|mut stream| {
        let _ = stream.write_all(b"REJECTED ANONYMOUS\x1b[2J\r\n");
        hold(stream);
    });
    let result = run("unit: nginx", &refuses.path().join("bus"), LONG).await;
    assert!(result.state == State::Unknown && result.message.contains("REJECTED ANONYMOUS\\e[2J"), "{result:?}");

    let endless = hostile(|mut stream| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    let result = run("unit: nginx", &endless.path().join("bus"), LONG).await;
    assert!(result.state == State::Unknown && result.message.contains("longer than 4096 bytes"), "{result:?}");

    let leaves = hostile(|mut stream| let_in(&mut stream));
    let result = run("unit: nginx", &leaves.path().join("bus"), LONG).await;
    assert_eq!(result.state, State::Unknown, "{result:?}");

    let quiet = hostile(|mut stream| {
        let_in(&mut stream);
        hold(stream);
    });
    let result = run("unit: nginx", &quiet.path().join("bus"), short).await;
    assert!(result.state == State::Unknown && result.message.contains("no answer"), "{result:?}");

    // A message of 100 MiB, as the specification allows it.
    let huge = hostile(|mut stream| {
        let_in(&mut stream);
        let mut header = [b'l', 2, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0];
        header[4..8].copy_from_slice(&(100 * 1024 * 1024_u32).to_le_bytes());
        let _ = stream.write_all(&header);
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    let result = run("unit: nginx", &huge.path().join("bus"), LONG).await;
    assert!(result.state == State::Unknown && result.message.contains("at most 8388608 are read"), "{result:?}");

    let noise = hostile(|mut stream| {
        let_in(&mut stream);
        while stream.write_all(&[0xff; 4096]).is_ok() {}
    });
    let result = run("unit: nginx", &noise.path().join("bus"), LONG).await;
    assert_eq!(result.state, State::Unknown, "{result:?}");
}
