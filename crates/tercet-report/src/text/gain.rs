//! The predicted speed-ups: models by numbers of workers, with the limit of each.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tercet_model::{Model, Prediction, Verdict};

use super::paper::{Paint, Paper, Span, left, painted, plain, right};
use crate::{figure, words};

/// Columns of one figure.
const CELL: usize = 8;

/// Columns of the limit, `at most 1.08x`.
const LIMIT: usize = 15;

/// Columns of the names of the models.
const NAME: usize = 12;

/// Writes the table; nothing when nothing is predicted.
pub(super) fn write(paper: &mut Paper, verdict: &Verdict) {
    if verdict.predictions.is_empty() {
        return;
    }
    paper.heading("Predicted speed-up");
    let advised = words::model_of(verdict.remedy).zip(verdict.workers);
    let room = (paper.columns() - 2 - NAME - LIMIT) / CELL;
    let columns = chosen(&verdict.predictions, advised.map(|(_, workers)| workers), room.max(1));
    write_numbers(paper, &columns);
    for model in Model::ALL {
        write_model(paper, &verdict.predictions, model, &columns, advised);
    }
    write_notes(paper, verdict, advised);
}

fn write_numbers(paper: &mut Paper, columns: &[u32]) {
    let mut row = left("  workers", 2 + NAME);
    for workers in columns {
        row.push_str(&right(&workers.to_string(), CELL));
    }
    row.push_str(&right("limit", LIMIT));
    paper.row(&[painted(row, Paint::Faint)]);
}

fn write_model(
    paper: &mut Paper,
    predictions: &[Prediction],
    model: Model,
    columns: &[u32],
    advised: Option<(Model, u32)>,
) {
    let of_model = || predictions.iter().filter(|prediction| prediction.model == model);
    let Some(any) = of_model().next() else { return };
    let mut row: Vec<Span> = vec![plain(format!("  {}", left(words::model(model), NAME)))];
    for &workers in columns {
        let found = of_model().find(|prediction| prediction.workers == workers);
        let is_advised = advised == Some((model, workers));
        row.push(cell(found, is_advised));
    }
    row.push(plain(right(&words::limit(any.bound), LIMIT)));
    paper.row(&row);
}

fn cell(prediction: Option<&Prediction>, is_advised: bool) -> Span {
    let speedup = prediction.map_or_else(String::new, |found| figure::times(found.speedup));
    let mark = if is_advised { "*" } else { "" };
    let paint = if is_advised { Paint::Strong } else { Paint::Plain };
    painted(right(&format!("{mark}{speedup}"), CELL), paint)
}

fn write_notes(paper: &mut Paper, verdict: &Verdict, advised: Option<(Model, u32)>) {
    if verdict.predictions.iter().any(|prediction| prediction.bound.is_some()) {
        paper.paragraph("  ", "The limit holds whatever the number of workers.", Paint::Faint);
    }
    let is_marked = |prediction: &Prediction| Some((prediction.model, prediction.workers)) == advised;
    if verdict.predictions.iter().any(is_marked) {
        paper.paragraph("  ", "* what the verdict advises", Paint::Faint);
    }
}

/// At most `room` of the numbers of workers: the advised one, the two ends, then those with figures of most models.
fn chosen(predictions: &[Prediction], advised: Option<u32>, room: usize) -> Vec<u32> {
    let mut models: BTreeMap<u32, usize> = BTreeMap::new();
    for prediction in predictions {
        *models.entry(prediction.workers).or_default() += 1;
    }
    let ends = models.last_key_value().into_iter().chain(models.iter().find(|(workers, _)| **workers > 1));
    let ends: Vec<u32> = ends.map(|(workers, _)| *workers).collect();
    let mut order: Vec<u32> = models.keys().copied().collect();
    let is_first = |workers: u32| (Some(workers) != advised, !ends.contains(&workers), workers == 1);
    order.sort_by_key(|workers| (is_first(*workers), Reverse(models[workers])));
    order.truncate(room);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(numbers: &[u32]) -> Vec<Prediction> {
        let one = |&workers| Prediction { model: Model::Threads, workers, speedup: 1.5, bound: None };
        numbers.iter().map(one).collect()
    }

    #[test]
    fn columns_keep_what_is_advised_and_both_ends() {
        let all = predictions(&[1, 2, 4, 8, 10, 16, 32, 64, 128]);
        assert_eq!(chosen(&all, Some(10), 20).len(), 9);
        assert_eq!(chosen(&all, Some(10), 4), [2, 4, 10, 128]);
        assert_eq!(chosen(&all, Some(10), 1), [10]);
        assert_eq!(chosen(&all, None, 2), [2, 128]);
    }

    #[test]
    fn columns_prefer_what_every_model_has() {
        let mut all = predictions(&[1, 2, 4, 8, 16, 32, 64]);
        all.extend(predictions(&[1, 2, 16]));
        assert_eq!(chosen(&all, None, 4), [2, 4, 16, 64]);
    }
}
