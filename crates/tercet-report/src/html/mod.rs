//! The report as one self-contained page.
//!
//! The page runs no script and loads nothing: pictures are inline SVG, tool tips are titles, parts
//! that fold are `details`. Rust works out every number and shape; the templates only place them,
//! and escape every text.

mod axis;
mod bar;
mod chart;
mod fact;
mod frame;
mod lane;
mod line;
mod page;
mod palette;
mod strip;
mod table;
mod timeline;
mod words;

use minijinja::Environment;

use crate::{Error, Report};

/// The templates. Names end in `.html`, which makes the engine escape what they are given.
const TEMPLATES: [(&str, &str); 8] = [
    ("page.html", include_str!("../../templates/page.html")),
    ("verdict.html", include_str!("../../templates/verdict.html")),
    ("waits.html", include_str!("../../templates/waits.html")),
    ("gains.html", include_str!("../../templates/gains.html")),
    ("lines.html", include_str!("../../templates/lines.html")),
    ("timeline.html", include_str!("../../templates/timeline.html")),
    ("tables.html", include_str!("../../templates/tables.html")),
    ("words.html", include_str!("../../templates/words.html")),
];

/// The page.
pub(crate) fn render(report: &Report<'_>) -> Result<String, Error> {
    let page = page::Page::of(report);
    let environment = environment()?;
    let template = "page.html";
    environment
        .get_template(template)
        .and_then(|page_template| page_template.render(&page))
        .map_err(|source| Error::Template { template, source })
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    for (template, text) in TEMPLATES {
        environment.add_template(template, text).map_err(|source| Error::Template { template, source })?;
    }
    Ok(environment)
}
