//! Prints the report of a program that was never run:
//! `sample_report [NAME] [html|text|ascii|colour|json] [COLUMNS]`.
//!
//! `tests/report` opens the page in a browser; `sample_report crawl text` shows the text.

use std::process::ExitCode;

use tercet_report::Style;

#[path = "../tests/samples/mod.rs"]
mod samples;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "an example is a program")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "crawl".into());
    let form = arguments.next().unwrap_or_else(|| "html".into());
    let width = arguments.next().and_then(|columns| columns.parse().ok()).unwrap_or(80);
    let Some(sample) = samples::named(&name) else {
        eprintln!("error: there is no sample `{name}`\nhint: one of {}", samples::NAMES.join(", "));
        return ExitCode::from(2);
    };
    match rendered(&sample, &form, width) {
        Ok(report) => println!("{}", report.trim_end()),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn rendered(sample: &samples::Sample, form: &str, width: usize) -> Result<String, tercet_report::Error> {
    let report = sample.report();
    let style = Style { width, ..Style::default() };
    Ok(match form {
        "json" => report.json(),
        "text" => report.text(&style),
        "ascii" => report.text(&Style { unicode: false, ..style }),
        "colour" => report.text(&Style { colour: true, ..style }),
        _ => return report.html(),
    })
}
