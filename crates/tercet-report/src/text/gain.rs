//! The predicted speed-ups: models by numbers of workers, with the limit of each.

use std::collections::BTreeSet;

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

/// At most `room` of the numbers of workers: the advised one, and others spread over the range.
fn chosen(predictions: &[Prediction], advised: Option<u32>, room: usize) -> Vec<u32> {
    let all: BTreeSet<u32> = predictions.iter().map(|prediction| prediction.workers).collect();
    let all: Vec<u32> = all.into_iter().collect();
    if all.len() <= room {
        return all;
    }
    let last = all.len() - 1;
    let spread = |step: usize| all[if room == 1 { last } else { (step * last).div_ceil(room - 1) }];
    let mut kept: Vec<u32> = (0..room).map(spread).collect();
    if let Some(advised) = advised.filter(|advised| all.contains(advised) && !kept.contains(advised)) {
        let nearest = kept.iter_mut().min_by_key(|workers| workers.abs_diff(advised));
        if let Some(nearest) = nearest {
            *nearest = advised;
        }
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(numbers: &[u32]) -> Vec<Prediction> {
        let one = |&workers| Prediction { model: Model::Threads, workers, speedup: 1.5, bound: None };
        numbers.iter().map(one).collect()
    }

    #[test]
    fn columns_keep_both_ends_and_what_is_advised() {
        let all = predictions(&[1, 2, 4, 8, 10, 16, 32, 64, 128]);
        assert_eq!(chosen(&all, Some(10), 20).len(), 9);
        assert_eq!(chosen(&all, Some(10), 4), [1, 10, 32, 128]);
        assert_eq!(chosen(&all, Some(10), 1), [10]);
        assert_eq!(chosen(&all, None, 2), [1, 128]);
    }
}
