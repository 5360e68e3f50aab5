//! Where the time goes: a bar and its legend.

use tercet_model::{Phases, Profile, Wait};

use super::glyph;
use super::paper::{Paint, Paper, Span, left, painted, plain, right};
use crate::{figure, words};

/// A kind with less than this share has no row of its own.
const SMALLEST: f64 = 0.0005;

/// From how many columns on there is room for labels rather than names.
const ROOMY: usize = 62;

/// Writes the bar, its legend and, where they matter, imports and exit.
pub(super) fn write(paper: &mut Paper, profile: &Profile) {
    let body = figure::seconds(profile.phases.body_s);
    let kinds = profile.shares.ranked();
    if kinds.is_empty() {
        paper.heading("Where the time goes");
        paper.paragraph("  ", "nothing was seen of the part that repeats", Paint::Plain);
    } else {
        paper.heading(&format!("Where the time goes, in the {body} that repeat"));
        write_bar(paper, &kinds);
        write_legend(paper, &kinds, profile.phases.body_s);
    }
    write_phases(paper, &profile.phases, profile.wall_s);
}

fn write_bar(paper: &mut Paper, kinds: &[(Wait, f64)]) {
    let cells = apportion(kinds, paper.columns() - 4);
    let mut bar: Vec<Span> = vec![plain("  ")];
    for (&(kind, _), &width) in kinds.iter().zip(&cells) {
        let fill = glyph::fill(kind, paper).to_string().repeat(width);
        bar.push(painted(fill, glyph::paint(kind)));
    }
    paper.row(&bar);
    paper.blank();
}

fn write_legend(paper: &mut Paper, kinds: &[(Wait, f64)], body_s: f64) {
    let (large, small): (Vec<_>, Vec<_>) = kinds.iter().partition(|(_, share)| *share >= SMALLEST);
    let label = if paper.columns() < ROOMY { Wait::name } else { Wait::label };
    let widest = large.iter().map(|&(kind, _)| label(kind).len()).max().unwrap_or(0);
    for (kind, share) in large {
        paper.row(&[
            plain("  "),
            painted(glyph::fill(kind, paper).to_string(), glyph::paint(kind)),
            plain(format!(" {}", left(label(kind), widest))),
            painted(right(&figure::percent(share), 8), Paint::Strong),
            plain(right(&figure::seconds(share * body_s), 12)),
        ]);
    }
    if !small.is_empty() {
        let number = figure::counted(small.len() as u64, "more kind", "more kinds");
        paper.row(&[painted(format!("    and {number}, below 0.1%"), Paint::Faint)]);
    }
}

/// Imports, the start of a pool and exit, when they take a twentieth of the run or more.
fn write_phases(paper: &mut Paper, phases: &Phases, wall_s: f64) {
    let apart = phases.imports_s.max(0.0) + phases.pool_start_s.max(0.0) + phases.exit_s.max(0.0);
    if !(apart >= 0.05 * wall_s && apart > 0.0) {
        return;
    }
    paper.blank();
    paper.paragraph("  ", &words::apart(phases), Paint::Plain);
}

/// Divides `cells` among kinds by their shares; whoever has anything gets a cell while there are.
fn apportion(kinds: &[(Wait, f64)], cells: usize) -> Vec<usize> {
    let total: f64 = kinds.iter().map(|(_, share)| share).sum();
    let ideal = |share: f64| share / total * cells as f64;
    let mut widths: Vec<usize> =
        kinds.iter().map(|&(_, share)| if share >= SMALLEST { (ideal(share) as usize).max(1) } else { 0 }).collect();
    while widths.iter().sum::<usize>() > cells {
        let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else { break };
        *widest -= 1;
    }
    while widths.iter().sum::<usize>() < cells {
        let lacks = |index: usize| ideal(kinds[index].1) - widths[index] as f64;
        let neediest = (0..widths.len()).max_by(|&a, &b| lacks(a).total_cmp(&lacks(b)));
        let Some(neediest) = neediest else { break };
        widths[neediest] += 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_kinds_get_a_cell_from_the_large_ones() {
        let kinds = [(Wait::Network, 0.97), (Wait::CpuGil, 0.02), (Wait::Disk, 0.01)];
        assert_eq!(apportion(&kinds, 10), [8, 1, 1]);
    }

    proptest! {
        #[test]
        fn the_bar_is_always_full(shares in prop::collection::vec(1e-6_f64..1.0, 1..15), cells in 36_usize..120) {
            let kinds: Vec<_> = Wait::ALL.into_iter().zip(shares).collect();
            prop_assert_eq!(apportion(&kinds, cells).iter().sum::<usize>(), cells);
        }
    }
}
