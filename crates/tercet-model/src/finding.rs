//! What one rule found.

use crate::{Reason, Remedy};

/// A remedy with what speaks for it.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) remedy: Remedy,
    pub(crate) workers: Option<u32>,
    pub(crate) gain: Option<Gain>,
    /// How firmly the rule stands on its facts, 0 to 1.
    pub(crate) firmness: f64,
    pub(crate) sentence: String,
    pub(crate) reasons: Vec<Reason>,
}

/// An expected speed-up and its bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gain {
    pub(crate) speedup: f64,
    pub(crate) bound: Option<f64>,
}

impl Gain {
    /// What is gained when a share of the time goes away, of which `kept` cannot.
    pub(crate) fn of_removing(share: f64) -> Self {
        let speedup = 1.0 / (1.0 - share.clamp(0.0, 0.999));
        Self { speedup, bound: Some(speedup) }
    }
}

impl From<crate::Prediction> for Gain {
    fn from(prediction: crate::Prediction) -> Self {
        Self { speedup: prediction.speedup, bound: prediction.bound }
    }
}

impl Finding {
    pub(crate) fn new(remedy: Remedy, sentence: impl Into<String>) -> Self {
        Self { remedy, workers: None, gain: None, firmness: 1.0, sentence: sentence.into(), reasons: Vec::new() }
    }

    pub(crate) fn because(mut self, weight: f64, text: impl Into<String>) -> Self {
        self.reasons.push(Reason { weight, text: text.into() });
        self
    }

    pub(crate) fn workers(mut self, workers: u32) -> Self {
        self.workers = Some(workers);
        self
    }

    pub(crate) fn gain(mut self, gain: impl Into<Gain>) -> Self {
        self.gain = Some(gain.into());
        self
    }

    pub(crate) fn firm(mut self, firmness: f64) -> Self {
        self.firmness = firmness;
        self
    }
}

/// A share in words: `94 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = (share * 100.0).clamp(0.0, 100.0);
    if percent > 0.0 && percent < 1.0 { "under 1 %".to_owned() } else { format!("{percent:.0} %") }
}
