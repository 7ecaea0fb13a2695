//! `monchero top`: all checks, live. [`state`] decides, [`draw`] shows, and here is what touches the world.

mod draw;
mod form;
mod rows;
mod state;
mod terminal;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use monchero_api::types::{AcknowledgementRequest, Detail, DowntimeRequest};
use monchero_api::{Client, ClientError};
use ratatui::crossterm::event as keys;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::exit::{Ended, Failed};
use super::holds::{behind_sudo, told};
use super::screen::Screen;
use super::{show, status};
use rows::Picture;
use state::{Ask, Event, State};
use terminal::Taken;

/// How many answers and keys may wait to be taken; what has more waits itself.
const EVENTS: usize = 64;
/// The least time between two pictures: a slow line takes eight a second, and no eye more.
const FRAME: Duration = Duration::from_millis(125);
/// How often the clock is looked at, and so the spans that count from now.
const TICK: Duration = Duration::from_secs(1);
/// What looking costs is at most this share of our time: ten thousand checks are looked at less often.
const SHARE: u32 = 20;
/// The longest time between two looks.
const LONGEST: Duration = Duration::from_secs(15);
/// How many things that were asked for may be under way: a run may take long.
const UNDER_WAY: usize = 8;
/// How often the thread that reads keys looks whether it is still needed.
const KEYS: Duration = Duration::from_millis(500);
/// SIGTSTP: stop, from another terminal.
const STOP: i32 = 20;

/// Options of `monchero top`.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Only these checks: names, or patterns with `*`. A check's name covers its services and instances.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Begin with checks that are not okay; the key `p` shows all.
    #[arg(long, short)]
    problems: bool,
}

/// Runs `monchero top`.
pub(super) async fn top(client: Client, screen: &Screen, args: TopArgs) -> Ended {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failed::usage("`top` needs a terminal that can be drawn on")
            .hint("without one, ask when you want to know: `monchero status`"));
    }
    // Whoever is not let in, or has no daemon, is told so in the shell.
    let picture: Picture = client.status(&args.patterns, false).await?.read()?;
    let mut state = State::new(picture, screen.now, screen.zone.clone(), screen.colour);
    if args.problems {
        state.update(Event::Key(keys::KeyCode::Char('p').into()));
    }
    let terminal = Taken::new().map_err(|error| lost(&error))?;
    let (sender, events) = mpsc::channel(EVENTS);
    read_keys(sender.clone()).map_err(|error| lost(&error))?;
    let edges = Edges {
        client,
        patterns: args.patterns,
        screen: screen.clone(),
        events: sender,
        looked: Instant::now(),
        under_way: 0,
    };
    follow(terminal, state, edges, events).await.map_err(|error| lost(&error))?;
    Ok(0.into())
}

fn lost(error: &io::Error) -> Failed {
    Failed::new(format!("the terminal cannot be used: {error}"))
}

/// Shows the state and does what it asks for, until it asks to quit.
async fn follow(
    mut terminal: Taken,
    mut state: State,
    mut edges: Edges,
    mut events: mpsc::Receiver<Event>,
) -> io::Result<()> {
    let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?];
    let mut stop = signal(SignalKind::from_raw(STOP))?;
    let [terminate, hangup, interrupt] = &mut ends;
    let mut tick = tokio::time::interval(TICK);
    let (mut drawn, mut changed) = (Instant::now(), true);
    let mut look = Some(Instant::now() + status::WATCH);
    let (width, height) = ratatui::crossterm::terminal::size()?;
    state.update(Event::Size(width, height));
    loop {
        let asks = tokio::select! {
            biased;
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = stop.recv() => vec![Ask::Suspend],
            () = sleep_until(drawn + FRAME), if changed => {
                terminal.draw(|frame| draw::draw(frame, &state))?;
                (drawn, changed) = (Instant::now(), false);
                continue;
            }
            Some(event) = events.recv() => {
                changed = true;
                match event {
                    Event::Looked(_) => look = Some(Instant::now() + edges.rest()),
                    Event::Done(_) => edges.under_way = edges.under_way.saturating_sub(1),
                    _ => {}
                }
                state.update(event)
            }
            _ = tick.tick() => {
                changed = true;
                state.update(Event::Time(now()))
            }
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => vec![Ask::Look],
        };
        for ask in asks {
            match ask {
                Ask::Quit => return Ok(()),
                Ask::Suspend => terminal.suspend()?,
                Ask::Redraw => terminal.forget()?,
                // One look at a time.
                Ask::Look if look.is_none() => {}
                Ask::Look => {
                    look = None;
                    edges.look();
                }
                ask => edges.ask(ask),
            }
            changed = true;
        }
    }
}

fn now() -> Timestamp {
    monchero_engine::Clock::system().now()
}

/// What touches the daemon: each question is a task of its own, and its answer an event.
struct Edges {
    client: Client,
    patterns: Vec<String>,
    screen: Screen,
    events: mpsc::Sender<Event>,
    /// When was last looked.
    looked: Instant,
    /// How many things that were asked for are under way.
    under_way: usize,
}

impl Edges {
    /// How long until the next look, once the last one is answered.
    fn rest(&self) -> Duration {
        (self.looked.elapsed() * SHARE).clamp(status::WATCH, LONGEST)
    }

    /// Sends what a question leads to. Nobody waits for it any more if the screen is gone.
    fn spawn(&self, question: impl Future<Output = Event> + 'static + Send) {
        let events = self.events.clone();
        tokio::spawn(async move { drop(events.send(question.await).await) });
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        let (client, patterns) = (self.client.clone(), self.patterns.clone());
        self.spawn(async move {
            let picture = match client.status(&patterns, false).await {
                Ok(answer) => answer.read::<Picture>(),
                Err(error) => Err(error),
            };
            Event::Looked(picture.map_err(|error| error.to_string()))
        });
    }

    fn ask(&mut self, ask: Ask) {
        let client = self.client.clone();
        match ask {
            Ask::Tell(name, past) => self.tell(name, past),
            Ask::Run(name) => self.operate(async move {
                let answer = client.run(vec![name]).await?.value()?;
                let results = answer.results.iter();
                let said: Vec<String> = results
                    .map(|result| format!("{}: {}, {}", result.name, result.state.as_str(), result.message))
                    .collect();
                Ok(said.join("; "))
            }),
            Ask::Acknowledge(check, lasting, comment) => {
                let until = lasting.and_then(|lasting| now().checked_add(lasting).ok());
                let author = behind_sudo();
                let request = AcknowledgementRequest { check, author, comment, until, sticky: false };
                self.operate(async move { Ok(client.acknowledge(&request).await?.value()?.done) });
            }
            Ask::Unacknowledge(check) => {
                self.operate(async move { Ok(client.unacknowledge(&check).await?.value()?.done) });
            }
            Ask::Downtime(check, lasting, comment) => {
                let duration = Some(monchero_core::duration::format(lasting));
                let checks = vec![check];
                let request =
                    DowntimeRequest { checks, duration, author: behind_sudo(), comment, ..Default::default() };
                let screen = Screen { now: now(), ..self.screen.clone() };
                self.operate(async move {
                    let planned = client.add_downtime(&request).await?.value()?;
                    Ok(told(&screen, &planned).trim_end().to_owned())
                });
            }
            Ask::Look | Ask::Redraw | Ask::Suspend | Ask::Quit => {}
        }
    }

    /// Asks for all about a check, and for the past of its metrics if that is wanted.
    fn tell(&self, name: String, past: bool) {
        let (client, screen) = (self.client.clone(), Screen { now: now(), ..self.screen.clone() });
        let events = self.events.clone();
        self.spawn(async move {
            let told: Result<Detail<'static>, ClientError> = match client.check(&name).await {
                Ok(answer) => answer.value(),
                Err(error) => Err(error),
            };
            if let (true, Ok(detail)) = (past, &told)
                && let Ok(past) = show::past(&client, &screen, detail).await
            {
                drop(events.send(Event::Past(name.clone(), past)).await);
            }
            Event::Told(name, told.map(Box::new).map_err(|error| error.to_string()))
        });
    }

    /// Does something and tells how that went.
    fn operate(&mut self, operation: impl Future<Output = Result<String, ClientError>> + Send + 'static) {
        let full = self.under_way >= UNDER_WAY;
        self.under_way += 1;
        self.spawn(async move {
            if full {
                return Event::Done(Err(format!("{UNDER_WAY} things are under way already: wait for one of them")));
            }
            Event::Done(operation.await.map_err(|error| match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            }))
        });
    }
}

/// Reads keys in a thread of its own, since that blocks.
fn read_keys(events: mpsc::Sender<Event>) -> io::Result<()> {
    let read = move || {
        while !events.is_closed() {
            let event = match keys::poll(KEYS) {
                Ok(false) => continue,
                Ok(true) => match keys::read() {
                    Ok(keys::Event::Key(key)) => Event::Key(key),
                    Ok(keys::Event::Resize(width, height)) => Event::Size(width, height),
                    Ok(_) => continue,
                    Err(_) => Event::Gone,
                },
                Err(_) => Event::Gone,
            };
            let gone = matches!(event, Event::Gone);
            if events.blocking_send(event).is_err() || gone {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read).map(drop)
}

#[cfg(test)]
mod tests;
