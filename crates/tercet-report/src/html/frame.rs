//! The frame of the predictions: its scales, and where limits and their labels stand.

use serde::Serialize;
use tercet_model::Prediction;

use super::axis::{Doublings, Tick, position};
use crate::{figure, words};

/// Height of the plot in pixels, as the style sheet has it.
const HEIGHT: f64 = 300.0;

/// Height of a label in per cent of the plot. Limits nearer than this share one.
const LABEL: f64 = 19.0 / HEIGHT * 100.0;

/// Width of a label in per cent of the plot, about.
const LABEL_WIDTH: f64 = 40.0;

/// The scales of a picture.
pub(super) struct Frame {
    x: Doublings,
    y: Doublings,
    most: u32,
}

/// The dashed line that no number of workers passes.
#[derive(Serialize)]
pub(super) struct Limit {
    model: &'static str,
    y: String,
}

/// The words at one dashed line or at several that lie together.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Label {
    y: String,
    text: String,
    is_right: bool,
}

impl Frame {
    /// A frame that these curves and the cores fit in; `None` when there is no curve.
    pub(super) fn of(courses: &[Vec<Prediction>], cores: f64) -> Option<Self> {
        let points = || courses.iter().flatten();
        let most = points().map(|point| point.workers).max()?.max(cores.clamp(4.0, 1024.0) as u32);
        let most = most.next_power_of_two();
        let fastest = points().map(|point| point.speedup).fold(1.5, f64::max);
        let slowest = points().map(|point| point.speedup).fold(0.95, f64::min).max(1.0 / 64.0);
        // A limit far above every curve would only press the curves down.
        let bounds = courses.iter().filter_map(|course| course.first()?.bound);
        let highest = bounds.filter(|bound| *bound <= 2.5 * fastest).fold(fastest, f64::max);
        let high = highest * 1.3;
        let low = slowest * (high / slowest).powf(-0.06);
        Some(Self { x: Doublings::new(1.0, f64::from(most)), y: Doublings::new(low, high), most })
    }

    /// The largest number of workers.
    pub(super) const fn most(&self) -> u32 {
        self.most
    }

    /// How far along a number of workers is, in per cent.
    pub(super) fn along(&self, workers: f64) -> f64 {
        self.x.at(workers)
    }

    /// How high a speed-up is, in per cent.
    pub(super) fn height(&self, speedup: f64) -> f64 {
        self.y.at(speedup)
    }

    /// Where a point is, from the left and from the top.
    pub(super) fn place(&self, point: &Prediction) -> (String, String) {
        (position(self.along(f64::from(point.workers))), position(100.0 - self.height(point.speedup)))
    }

    /// Ticks for workers.
    pub(super) fn x_ticks(&self) -> Vec<Tick> {
        let powers = self.x.powers(11).into_iter();
        powers.map(|workers| Tick::new(self.x.at(workers), format!("{workers:.0}"))).collect()
    }

    /// Ticks for speed-ups.
    pub(super) fn y_ticks(&self) -> Vec<Tick> {
        let powers = self.y.powers(6).into_iter();
        powers.map(|power| Tick::new(self.y.at(power), factor(power))).collect()
    }

    /// The mark of the cores.
    pub(super) fn cores(&self, cores: f64) -> Tick {
        let label = if cores == 1.0 { "core" } else { "cores" };
        Tick::new(self.along(cores), format!("{} {label}", figure::mean(cores)))
    }

    /// The limits that lie within the picture.
    pub(super) fn limits(&self, courses: &[Vec<Prediction>]) -> Vec<Limit> {
        let limit =
            |(point, height): (&Prediction, f64)| Limit { model: point.model.name(), y: position(100.0 - height) };
        self.bounded(courses).into_iter().map(limit).collect()
    }

    /// Labels for the limits; those that lie together share one, at the highest of them.
    pub(super) fn labels(&self, courses: &[Vec<Prediction>]) -> Vec<Label> {
        let mut groups: Vec<(f64, Vec<&Prediction>)> = Vec::new();
        for (point, height) in self.bounded(courses) {
            match groups.last_mut() {
                Some((at, all)) if height - *at < LABEL => {
                    *at = height;
                    all.push(point);
                }
                _ => groups.push((height, vec![point])),
            }
        }
        let label = |(height, points): (f64, Vec<&Prediction>)| Label {
            y: position(100.0 - height),
            text: told(&points),
            is_right: self.is_better_right(courses, height),
        };
        groups.into_iter().map(label).collect()
    }

    /// One point of each curve that has a limit within the picture, with its height, from below.
    fn bounded<'a>(&self, courses: &'a [Vec<Prediction>]) -> Vec<(&'a Prediction, f64)> {
        let points = courses.iter().filter_map(|course| course.first());
        let heights = points.filter_map(|point| {
            let bound = point.bound.filter(|bound| bound.is_finite())?;
            Some((point, self.height(bound)))
        });
        let mut bounded: Vec<_> = heights.filter(|(_, height)| *height < 99.0).collect();
        bounded.sort_by(|a, b| a.1.total_cmp(&b.1));
        bounded
    }

    /// Whether fewer curves run through a label on this height at the right than at the left.
    fn is_better_right(&self, courses: &[Vec<Prediction>], height: f64) -> bool {
        let crossings = |from, to| {
            let runs_through = |pair: &&[Prediction]| self.runs_through(pair, (from, to), height);
            courses.iter().flat_map(|course| course.windows(2)).filter(runs_through).count()
        };
        crossings(100.0 - LABEL_WIDTH, 100.0) < crossings(0.0, LABEL_WIDTH)
    }

    /// Whether the line between two points runs through the label at this height.
    fn runs_through(&self, pair: &[Prediction], (from, to): (f64, f64), height: f64) -> bool {
        let [x, next_x] = [0, 1].map(|index| self.along(f64::from(pair[index].workers)));
        let [y, next_y] = [0, 1].map(|index| self.height(pair[index].speedup));
        let is_beside = next_x < from || x > to;
        // A curve on its own limit only touches the label.
        let is_above_or_below = y.max(next_y) < height + 0.5 || y.min(next_y) > height + LABEL + 1.0;
        !is_beside && !is_above_or_below
    }
}

/// `threads, event loop at most 1.6x, processes at most 1.7x`.
fn told(points: &[&Prediction]) -> String {
    let same_limit = |a: &&Prediction, b: &&Prediction| words::limit(a.bound) == words::limit(b.bound);
    let tell = |same: &[&Prediction]| {
        let models: Vec<_> = same.iter().map(|point| words::model(point.model)).collect();
        format!("{} {}", models.join(", "), words::limit(same[0].bound))
    };
    points.chunk_by(same_limit).map(tell).collect::<Vec<_>>().join(", ")
}

/// A power of two as a factor.
fn factor(power: f64) -> String {
    if power < 0.5 { format!("1/{:.0}x", 1.0 / power) } else { format!("{power}x") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tercet_model::Model;

    fn course(model: Model, bound: f64) -> Vec<Prediction> {
        let point = |power: u32| {
            let workers = 1 << power;
            Prediction { model, workers, speedup: f64::from(workers).min(bound), bound: Some(bound) }
        };
        (0..=6).map(point).collect()
    }

    #[test]
    fn limits_that_lie_together_share_a_label() {
        let courses = [course(Model::Threads, 8.0), course(Model::EventLoop, 8.0), course(Model::Processes, 7.0)];
        let labels = Frame::of(&courses, 2.0).unwrap().labels(&courses);
        let texts: Vec<_> = labels.iter().map(|label| label.text.as_str()).collect();
        assert_eq!(texts, ["processes at most 7.0x, threads, event loop at most 8.0x"]);
    }

    #[test]
    fn a_label_evades_the_curves() {
        let courses = [course(Model::Threads, 64.0), course(Model::Processes, 1.0)];
        let labels = Frame::of(&courses, 2.0).unwrap().labels(&courses);
        assert_eq!(labels.iter().map(|label| label.is_right).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn without_a_curve_there_is_no_frame() {
        assert!(Frame::of(&[], 2.0).is_none());
    }
}
