//! A sign of life while a long program runs: on standard error, only on a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tercet_sampler::Sampler;

/// One line that tells how long the watch lasts and how much it has seen.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    next: Instant,
}

/// A program that is over by then needs no sign of life.
const SILENT: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_secs(1);

impl Progress {
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    pub(crate) fn new() -> Self {
        let is_wanted = std::io::stderr().is_terminal() && std::env::var_os("TERCET_NO_PROGRESS").is_none();
        let bar = is_wanted.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { bar, next: Instant::now() + SILENT }
    }

    pub(crate) fn show(&mut self, sampler: &Sampler) {
        let Some(bar) = self.bar.as_ref().filter(|_| Instant::now() >= self.next) else { return };
        self.next = Instant::now() + EVERY;
        let seconds = sampler.elapsed().as_secs();
        bar.set_message(format!("tercet: watching, {seconds} s, {} samples; Ctrl-C ends it", sampler.samples()));
        bar.tick();
    }

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
