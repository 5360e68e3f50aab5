//! The page: well formed, self-contained, and not to be broken by any name.

use proptest::prelude::*;

mod markup;
mod samples;

#[test]
fn every_sample_is_well_formed() {
    for sample in samples::all() {
        markup::assert_well_formed(&sample.report().html().unwrap());
    }
}

#[test]
fn nothing_is_loaded_and_nothing_runs() {
    for sample in samples::all() {
        let page = markup::Page::of(&sample.report().html().unwrap());
        for tag in ["script", "img", "iframe", "object", "embed", "form", "base", "video", "audio"] {
            assert_eq!(page.count(tag), 0, "<{tag}>");
        }
        for (name, value) in page.attributes() {
            assert!(!name.starts_with("on"), "{name}");
            let is_address = ["href", "src", "srcset", "action"].contains(&name.as_str());
            assert!(!is_address || value.starts_with('#') || value == "data:,", "{name}={value}");
        }
        assert!(!page.style().contains("url(") && !page.style().contains("@import"));
    }
}

#[test]
fn the_policy_forbids_everything_but_the_style() {
    let html = samples::named("crawl").unwrap().report().html().unwrap();
    assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"));
}

#[test]
fn every_section_is_there() {
    let html = samples::named("crawl").unwrap().report().html().unwrap();
    for heading in [
        "Where the time goes",
        "Lines that wait or compute",
        "Predicted speed-up",
        "Threads over time",
        "What could not be read",
        "Threads and processes",
    ] {
        assert!(html.contains(&format!(">{heading}</h2>")), "{heading}");
    }
}

#[test]
fn sections_without_content_are_left_out() {
    let html = samples::named("empty").unwrap().report().html().unwrap();
    for heading in ["Lines that wait", "Predicted speed-up", "Threads over time", "could not be read", "Threads and"] {
        assert!(!html.contains(&format!(">{heading}")), "{heading}");
    }
    assert!(html.contains("Nothing was seen"));
}

#[test]
fn hostile_names_are_text() {
    let html = samples::named("hostile").unwrap().report().html().unwrap();
    let text = markup::Page::of(&html).text();
    assert!(text.contains("</script><script>alert(1)</script>"));
    assert!(text.contains("{{ 7 * 7 }}{% raw %}{# no #}"));
    assert!(text.contains("\\u2028") && text.contains("\\x1b[31mred"));
    assert!(!html.contains(['\u{1b}', '\u{2028}', '\u{202e}', '\0']));
}

#[test]
fn two_hundred_threads_and_very_long_names_stay_small() {
    let many = samples::named("many").unwrap().report().html().unwrap();
    assert!(many.len() < 1_000_000, "{}", many.len());
    let long = "x/".repeat(5_000);
    let page = samples::hostile(&[&long]).report().html().unwrap();
    assert!(page.len() < 200_000, "{}", page.len());
    markup::assert_well_formed(&page);
}

#[test]
fn figures_that_are_not_finite_do_not_reach_the_page() {
    let mut sample = samples::named("crawl").unwrap();
    let profile = &mut sample.profile;
    (profile.wall_s, profile.phases.body_s) = (f64::NAN, f64::INFINITY);
    profile.lines[0].share = f64::NAN;
    profile.machine.cores = f64::NAN;
    profile.tasks.count = Some(f64::INFINITY);
    sample.verdict.speedup = Some(f64::NAN);
    sample.verdict.confidence = f64::NAN;
    let html = sample.report().html().unwrap();
    markup::assert_well_formed(&html);
    let words = |character: char| !character.is_alphanumeric();
    assert!(!html.split(words).any(|word| word == "NaN" || word == "inf"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_name_breaks_the_page(names in prop::collection::vec("[<>&\"'`/{}%#! -~\\PC]{0,60}|.{0,60}", 1..8)) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let html = samples::hostile(&names).report().html().unwrap();
        markup::assert_well_formed(&html);
        let page = markup::Page::of(&html);
        prop_assert_eq!(page.count("script"), 0);
        prop_assert!(page.attributes().iter().all(|(name, _)| markup::ATTRIBUTES.contains(&name.as_str())));
    }
}
