//! Programs that were never run: facts and verdicts by hand, for the tests and the example.

#![allow(dead_code, reason = "each test and the example use some of the samples")]
#![allow(unreachable_pub, reason = "each test and the example have this module as their own")]

mod edge;
mod make;
mod plain;

use tercet_model::{Profile, Verdict};
use tercet_report::{Report, Subject};

/// All that a report is made of.
#[derive(Clone, Debug)]
pub struct Sample {
    pub subject: Subject,
    pub profile: Profile,
    pub verdict: Verdict,
}

impl Sample {
    pub fn report(&self) -> Report<'_> {
        Report { subject: &self.subject, profile: &self.profile, verdict: &self.verdict }
    }
}

/// The names of all samples.
pub const NAMES: [&str; 10] =
    ["crawl", "fixed", "downloads", "blocked", "burn", "many", "pool", "empty", "one", "hostile"];

/// The sample of a name.
pub fn named(name: &str) -> Option<Sample> {
    Some(match name {
        "crawl" => plain::crawl(),
        "fixed" => plain::fixed(),
        "downloads" => plain::downloads(),
        "blocked" => plain::blocked(),
        "burn" => plain::burn(),
        "many" => edge::many(),
        "pool" => edge::pool(),
        "empty" => edge::empty(),
        "one" => edge::one(),
        "hostile" => edge::hostile(HOSTILE),
        _ => return None,
    })
}

/// Every sample.
pub fn all() -> impl Iterator<Item = Sample> {
    NAMES.into_iter().filter_map(named)
}

/// A sample in which every name is one of these.
pub fn hostile(names: &[&str]) -> Sample {
    edge::hostile(names)
}

/// Names that would do harm where they are not made safe.
pub const HOSTILE: &[&str] = &[
    "</script><script>alert(1)</script>",
    "\" onmouseover=\"alert(2)\" x='",
    "{{ 7 * 7 }}{% raw %}{# no #}",
    "line\u{2028}separator\u{2029}and\nbreak\r\n",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\u{9b}2J",
    "\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}",
    "下载下载下载👩‍👩‍👧🇩🇪e\u{301}\u{301}\u{301}\u{301}\u{301}\u{fe0f}",
    "--><!--<style>*{display:none}</style><svg onload=alert(3)>",
    "nul\0and\x7fdelete\tand tab",
    "&amp;&lt;&#x3c;img src=x onerror=alert(4)&gt;",
];
