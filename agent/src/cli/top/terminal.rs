//! The terminal while it is ours: taken, and given back however we end.

use std::io::{self, Stdout, Write as _};
use std::sync::Once;

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};

/// What is written for one picture, before it is sent at once: a whole screen fits.
const BUFFER: usize = 64 * 1024;

/// The exit status of a Rust program that panicked.
const PANICKED: i32 = 101;

/// The terminal; given back when this is dropped.
pub(super) struct Taken {
    terminal: Terminal<CrosstermBackend<io::BufWriter<Stdout>>>,
}

impl Taken {
    /// Takes the terminal: its other screen, every key at once, no cursor.
    pub(super) fn new() -> io::Result<Self> {
        give_back_at_panic();
        let writer = io::BufWriter::with_capacity(BUFFER, io::stdout());
        let taken = Self { terminal: Terminal::new(CrosstermBackend::new(writer))? };
        take()?;
        Ok(taken)
    }

    /// Draws a picture; only what has changed is sent.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(drop)
    }

    /// Forgets what is on the screen, so that all of it is drawn anew.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Gives the terminal back, stops until somebody lets us go on, and takes it again.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // A handler stands where SIGTSTP would stop us; nothing stands where SIGSTOP does.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)?;
        take()?;
        self.forget()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

fn give_back() {
    // Nothing is left to try if it is gone.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
}

/// What a panic says is to be read, so it comes after the terminal was given back. Nobody could follow a screen after that.
fn give_back_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            say(panic);
            std::process::exit(PANICKED);
        }));
    });
}
