//! Predicted speed-up over the number of workers, as curves and as a table.

use std::collections::BTreeSet;

use serde::Serialize;
use tercet_model::{Model, Prediction, Profile, Verdict, predict};

use super::axis::{Doublings, Tick, position};
use crate::{figure, words};

/// No picture shows more workers than this.
const MOST_WORKERS: u32 = 1024;

/// Height of the plot in pixels, as the style sheet has it.
const HEIGHT: f64 = 300.0;

/// A best speed-up below this is no gain.
const NO_GAIN: f64 = 1.05;

/// Limits whose lines are nearer than this, in pixels, share one label.
const LABEL_ROOM: f64 = 19.0;

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

/// The dashed line that no number of workers passes.
#[derive(Clone, Serialize)]
struct Limit {
    model: &'static str,
    y: String,
}

/// The words at one dashed line or at several that lie together.
#[derive(Serialize)]
struct Label {
    y: String,
    text: String,
    /// Whether it stands so low that rising curves would cross it at the left.
    is_low: bool,
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
        if verdict.predictions.is_empty() {
            return None;
        }
        let advised = words::model_of(verdict.remedy).zip(verdict.workers);
        let most = most_workers(profile, verdict);
        let points: Vec<Vec<Prediction>> =
            Model::ALL.map(|model| samples(most).map(|n| predict(profile, model, n)).collect()).into();
        let frame = Frame::of(&points, most);
        let columns = columns(most, advised.map(|(_, workers)| workers));
        let limits: Vec<_> = points.iter().filter_map(|curve| frame.limit(curve)).collect();
        Some(Self {
            curves: points.iter().map(|curve| frame.curve(profile, curve, &columns, advised)).collect(),
            labels: labels(limits.clone()),
            limits: limits.into_iter().map(|(_, limit, _)| limit).collect(),
            x: frame.x_ticks(),
            y: frame.y_ticks(),
            today: position(frame.y.at(1.0)),
            cores: frame.cores(profile.machine.cores),
            advice: advised.filter(|(_, n)| *n <= most).map(|(model, n)| frame.advice(profile, model, n)),
            columns: columns.iter().map(|&n| figure::count(u64::from(n))).collect(),
            summary: summary(&points),
        })
    }
}

/// The scales of a picture.
struct Frame {
    x: Doublings,
    y: Doublings,
    most: u32,
}

impl Frame {
    fn of(points: &[Vec<Prediction>], most: u32) -> Self {
        let speedups = || points.iter().flatten().map(|point| point.speedup);
        let fastest = speedups().fold(1.5, f64::max);
        let slowest = speedups().fold(0.95, f64::min).max(1.0 / 64.0);
        // A limit far above every curve would only press the curves down.
        let bounds = points.iter().filter_map(|curve| curve.first()?.bound);
        let highest = bounds.filter(|bound| *bound <= 2.5 * fastest).fold(fastest, f64::max);
        let high = highest * 1.3;
        let low = slowest * (high / slowest).powf(-0.06);
        Self { x: Doublings::new(1.0, f64::from(most)), y: Doublings::new(low, high), most }
    }

    fn curve(&self, profile: &Profile, points: &[Prediction], columns: &[u32], advised: Option<(Model, u32)>) -> Curve {
        let model = points[0].model;
        let best = points.iter().fold(
            points[0],
            |best, point| {
                if point.speedup > best.speedup * 1.005 { *point } else { best }
            },
        );
        let dots = points.iter().filter(|point| point.workers.is_power_of_two());
        Curve {
            model: model.name(),
            label: words::model(model),
            is_advised: advised.is_some_and(|(advised, _)| advised == model),
            path: self.path(points),
            dots: dots.map(|point| self.dot(point)).collect(),
            best: if best.speedup < NO_GAIN { "no gain".to_owned() } else { told(&best) },
            limit: words::limit(points[0].bound),
            cells: columns.iter().map(|&workers| figure::times(predict(profile, model, workers).speedup)).collect(),
        }
    }

    fn path(&self, points: &[Prediction]) -> String {
        let place = |point: &Prediction| format!("{} {}", self.left(point), self.top(point));
        let places: Vec<_> = points.iter().map(place).collect();
        format!("M{}", places.join("L"))
    }

    fn dot(&self, point: &Prediction) -> Dot {
        let title = format!("{}: {}", words::model(point.model), told(point));
        Dot { x: self.left(point), y: self.top(point), title }
    }

    fn left(&self, point: &Prediction) -> String {
        position(self.x.at(f64::from(point.workers)))
    }

    fn top(&self, point: &Prediction) -> String {
        position(100.0 - self.y.at(point.speedup))
    }

    /// The limit of a curve with its height and its words, when it lies within the picture.
    fn limit(&self, points: &[Prediction]) -> Option<(f64, Limit, String)> {
        let point = points.first()?;
        let bound = point.bound.filter(|bound| bound.is_finite())?;
        let height = self.y.at(bound);
        let limit = Limit { model: point.model.name(), y: position(100.0 - height) };
        let words = format!("{} {}", words::model(point.model), words::limit(point.bound));
        (height < 99.0).then_some((height, limit, words))
    }

    fn x_ticks(&self) -> Vec<Tick> {
        let powers = self.x.powers(11).into_iter();
        powers.map(|n| Tick::new(self.x.at(n), format!("{n:.0}"))).collect()
    }

    fn y_ticks(&self) -> Vec<Tick> {
        let powers = self.y.powers(6).into_iter();
        powers.map(|n| Tick::new(self.y.at(n), factor(n))).collect()
    }

    fn cores(&self, cores: f64) -> Tick {
        let label = if cores == 1.0 { "core" } else { "cores" };
        Tick::new(self.x.at(cores.min(f64::from(self.most))), format!("{} {label}", figure::mean(cores)))
    }

    fn advice(&self, profile: &Profile, model: Model, workers: u32) -> Advice {
        let point = predict(profile, model, workers);
        let label = format!("advice: {}", words::workers(Some(model), workers));
        let apart = self.x.at(f64::from(workers)) - self.x.at(profile.machine.cores);
        let is_crowded = apart.abs() < 40.0;
        Advice { x: self.left(&point), y: self.top(&point), label, is_crowded }
    }
}

/// How far the picture goes: beyond the cores, the advice and the tasks there are.
fn most_workers(profile: &Profile, verdict: &Verdict) -> u32 {
    let tasks = profile.tasks.count.unwrap_or(0.0).clamp(0.0, f64::from(MOST_WORKERS)) as u32;
    let cores = profile.machine.cores.clamp(1.0, f64::from(MOST_WORKERS)) as u32;
    let predicted = verdict.predictions.iter().map(|prediction| prediction.workers).max();
    let reach = [tasks.min(64), cores * 2, verdict.workers.unwrap_or(0), predicted.unwrap_or(0)];
    let reach = reach.into_iter().max().unwrap_or(1);
    reach.clamp(16, MOST_WORKERS).next_power_of_two().min(MOST_WORKERS)
}

/// Numbers of workers, near enough to one another for a smooth curve.
fn samples(most: u32) -> impl Iterator<Item = u32> {
    let steps = 0..=most.ilog2() * 4;
    let numbers: BTreeSet<u32> = steps.map(|step| 2.0_f64.powf(f64::from(step) / 4.0).round() as u32).collect();
    numbers.into_iter()
}

/// The numbers of workers of the table.
fn columns(most: u32, advised: Option<u32>) -> Vec<u32> {
    let powers = (0..=most.ilog2()).map(|power| 1 << power);
    let all: BTreeSet<u32> = powers.chain(advised.filter(|workers| *workers <= most)).collect();
    all.into_iter().collect()
}

/// Labels for the limits; those that lie together share one, at the highest of them.
fn labels(mut limits: Vec<(f64, Limit, String)>) -> Vec<Label> {
    limits.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut groups: Vec<(f64, Vec<String>)> = Vec::new();
    for (height, _, words) in limits {
        match groups.last_mut() {
            Some((at, all)) if (height - *at) / 100.0 * HEIGHT < LABEL_ROOM => {
                *at = height;
                all.push(words);
            }
            _ => groups.push((height, vec![words])),
        }
    }
    let label = |(height, words): (f64, Vec<String>)| Label {
        y: position(100.0 - height),
        text: words.join(", "),
        is_low: height < 40.0,
    };
    groups.into_iter().map(label).collect()
}

/// A power of two as a factor.
fn factor(power: f64) -> String {
    if power < 0.5 { format!("1/{:.0}x", 1.0 / power) } else { format!("{power}x") }
}

/// `4.0x with 16 threads`.
fn told(point: &Prediction) -> String {
    let workers = words::workers(Some(point.model), point.workers);
    format!("{} with {workers}", figure::times(point.speedup))
}

/// The picture in words.
fn summary(points: &[Vec<Prediction>]) -> String {
    let ends = points.iter().filter_map(|curve| curve.last());
    let told: Vec<_> = ends
        .map(|point| format!("{}: {}, limit {}", words::model(point.model), told(point), words::limit(point.bound)))
        .collect();
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_sampled_at_every_power_of_two() {
        let numbers: Vec<_> = samples(16).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]);
        assert_eq!(columns(8, Some(6)), [1, 2, 4, 6, 8]);
    }

    #[test]
    fn limits_that_lie_together_share_a_label() {
        let limit = |height, words: &str| (height, Limit { model: "threads", y: String::new() }, words.to_owned());
        let labels = labels(vec![limit(80.0, "b"), limit(78.0, "a"), limit(20.0, "c")]);
        let texts: Vec<_> = labels.iter().map(|label| label.text.as_str()).collect();
        assert_eq!(texts, ["c", "a, b"]);
        assert_eq!(labels[1].y, "20");
    }
}
