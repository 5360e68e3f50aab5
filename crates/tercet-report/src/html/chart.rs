//! Predicted speed-up over the number of workers, as curves and as a table.

use std::collections::BTreeSet;

use serde::Serialize;
use tercet_model::{Model, Prediction, Profile, Verdict, predict};

use super::axis::{Tick, position};
use super::frame::{Frame, Label, Limit};
use crate::{figure, words};

/// No picture shows more workers than this.
const MOST_WORKERS: u32 = 1024;

/// A best speed-up below this is no gain.
const NO_GAIN: f64 = 1.05;

/// The picture of the predictions.
#[derive(Serialize)]
pub(super) struct Chart {
    curves: Vec<Curve>,
    limits: Vec<Limit>,
    labels: Vec<Label>,
    x: Vec<Tick>,
    y: Vec<Tick>,
    today: String,
    cores: Tick,
    advice: Option<Advice>,
    columns: Vec<String>,
    summary: String,
}

/// One model.
#[derive(Serialize)]
struct Curve {
    model: &'static str,
    label: &'static str,
    is_advised: bool,
    path: String,
    dots: Vec<Dot>,
    best: String,
    limit: String,
    cells: Vec<String>,
}

/// A point of a curve that says what it stands for.
#[derive(Serialize)]
struct Dot {
    x: String,
    y: String,
    title: String,
}

/// The advised point.
#[derive(Serialize)]
struct Advice {
    x: String,
    y: String,
    label: String,
    /// Whether its label on the axis would touch that of the cores.
    is_crowded: bool,
}

impl Chart {
    /// The picture; `None` when the verdict predicts nothing.
    pub(super) fn of(profile: &Profile, verdict: &Verdict) -> Option<Self> {
        let courses: Vec<_> = Model::ALL.into_iter().filter_map(|model| course(profile, verdict, model)).collect();
        let frame = Frame::of(&courses, profile.machine.cores)?;
        let advised = words::model_of(verdict.remedy).zip(verdict.workers);
        let sizes: BTreeSet<u32> = verdict.predictions.iter().map(|prediction| prediction.workers).collect();
        let is_advised = |model| advised.is_some_and(|(advised, _)| advised == model);
        let advice = advised.filter(|(_, workers)| *workers <= frame.most());
        Some(Self {
            curves: courses
                .iter()
                .map(|course| curve(&frame, course, cells(verdict, course[0].model, &sizes), is_advised))
                .collect(),
            labels: frame.labels(&courses),
            limits: frame.limits(&courses),
            x: frame.x_ticks(),
            y: frame.y_ticks(),
            today: position(frame.height(1.0)),
            cores: frame.cores(profile.machine.cores),
            advice: advice.map(|(model, workers)| advice_at(&frame, profile, model, workers)),
            columns: sizes.iter().map(|&workers| figure::count(u64::from(workers))).collect(),
            summary: summary(&courses),
        })
    }
}

/// The points of one model, as far as the verdict predicts it; `None` when it does not.
fn course(profile: &Profile, verdict: &Verdict, model: Model) -> Option<Vec<Prediction>> {
    let of_model = verdict.predictions.iter().filter(|prediction| prediction.model == model);
    let most = of_model.map(|prediction| prediction.workers).max()?.clamp(1, MOST_WORKERS);
    Some(samples(most).map(|workers| predict(profile, model, workers)).collect())
}

/// Numbers of workers up to `most`, near enough to one another for a smooth curve.
fn samples(most: u32) -> impl Iterator<Item = u32> {
    let steps = 0..=most.ilog2() * 4 + 4;
    let numbers = steps.map(|step| 2.0_f64.powf(f64::from(step) / 4.0).round() as u32);
    let numbers: BTreeSet<u32> = numbers.filter(|number| *number < most).chain([most]).collect();
    numbers.into_iter()
}

fn curve(frame: &Frame, course: &[Prediction], cells: Vec<String>, is_advised: impl Fn(Model) -> bool) -> Curve {
    let (first, last) = (course[0], course[course.len() - 1]);
    let best =
        course.iter().fold(first, |best, point| if point.speedup > best.speedup * 1.005 { *point } else { best });
    let is_marked = |point: &&Prediction| point.workers.is_power_of_two() || point.workers == last.workers;
    Curve {
        model: first.model.name(),
        label: words::model(first.model),
        is_advised: is_advised(first.model),
        path: path(frame, course),
        dots: course.iter().filter(is_marked).map(|point| dot(frame, point)).collect(),
        best: if best.speedup < NO_GAIN { "no gain".to_owned() } else { told(&best) },
        limit: words::limit(first.bound),
        cells,
    }
}

fn path(frame: &Frame, course: &[Prediction]) -> String {
    let place = |point: &Prediction| {
        let (x, y) = frame.place(point);
        format!("{x} {y}")
    };
    let places: Vec<_> = course.iter().map(place).collect();
    format!("M{}", places.join("L"))
}

fn dot(frame: &Frame, point: &Prediction) -> Dot {
    let (x, y) = frame.place(point);
    Dot { x, y, title: format!("{}: {}", words::model(point.model), told(point)) }
}

fn advice_at(frame: &Frame, profile: &Profile, model: Model, workers: u32) -> Advice {
    let (x, y) = frame.place(&predict(profile, model, workers));
    let label = format!("advice: {}", words::workers(Some(model), workers));
    let apart = frame.along(f64::from(workers)) - frame.along(profile.machine.cores);
    Advice { x, y, label, is_crowded: apart.abs() < 40.0 }
}

/// What the verdict predicts of one model at each of the sizes; nothing where it does not.
fn cells(verdict: &Verdict, model: Model, sizes: &BTreeSet<u32>) -> Vec<String> {
    let cell = |&workers: &u32| {
        let is_it = |prediction: &&Prediction| prediction.model == model && prediction.workers == workers;
        let found = verdict.predictions.iter().find(is_it);
        found.map_or_else(String::new, |prediction| figure::times(prediction.speedup))
    };
    sizes.iter().map(cell).collect()
}

/// `4.0x with 16 threads`.
fn told(point: &Prediction) -> String {
    let workers = words::workers(Some(point.model), point.workers);
    format!("{} with {workers}", figure::times(point.speedup))
}

/// The picture in words.
fn summary(courses: &[Vec<Prediction>]) -> String {
    let ends = courses.iter().filter_map(|course| course.last());
    let tell = |point: &Prediction| {
        format!("{}: {}, limit {}", words::model(point.model), told(point), words::limit(point.bound))
    };
    ends.map(tell).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_sampled_at_every_power_of_two_and_at_their_end() {
        assert_eq!(samples(16).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]);
        assert_eq!(samples(12).last(), Some(12));
        assert_eq!(samples(1).collect::<Vec<_>>(), [1]);
    }
}
