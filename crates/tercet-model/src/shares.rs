//! How a stretch of time divides among the kinds of moment.

use std::ops::{Index, IndexMut};

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::Wait;

/// An amount for each [`Wait`]: weights while they are gathered, shares once [`Shares::normalised`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares([f64; Wait::COUNT]);

impl Shares {
    /// Adds `weight` to one kind.
    pub fn add(&mut self, kind: Wait, weight: f64) {
        self.0[kind as usize] += weight;
    }

    /// Adds all of `other`, each amount multiplied by `factor`.
    pub fn add_scaled(&mut self, other: &Self, factor: f64) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs * factor;
        }
    }

    /// The sum over all kinds.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The same proportions with sum one; all zero when there is nothing to divide.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let total = self.total();
        if total > 0.0 { Self(self.0.map(|amount| amount / total)) } else { Self::default() }
    }

    /// The sum over the kinds that `belongs` accepts.
    pub fn sum(&self, belongs: impl Fn(Wait) -> bool) -> f64 {
        self.iter().filter(|&(kind, _)| belongs(kind)).map(|(_, amount)| amount).sum()
    }

    /// Kinds with their amounts, in the order of [`Wait::ALL`], zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Wait, f64)> + '_ {
        Wait::ALL.into_iter().zip(self.0)
    }

    /// The kinds that occur, the largest first; equal amounts in the order of [`Wait::ALL`].
    pub fn ranked(&self) -> Vec<(Wait, f64)> {
        let mut kinds: Vec<_> = self.iter().filter(|&(_, amount)| amount > 0.0).collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        kinds
    }
}

impl Index<Wait> for Shares {
    type Output = f64;
    fn index(&self, kind: Wait) -> &f64 {
        &self.0[kind as usize]
    }
}

impl IndexMut<Wait> for Shares {
    fn index_mut(&mut self, kind: Wait) -> &mut f64 {
        &mut self.0[kind as usize]
    }
}

impl FromIterator<(Wait, f64)> for Shares {
    fn from_iter<I: IntoIterator<Item = (Wait, f64)>>(kinds: I) -> Self {
        let mut shares = Self::default();
        for (kind, amount) in kinds {
            shares.add(kind, amount);
        }
        shares
    }
}

/// A map from the name of a kind to its amount; kinds that never occur are left out.
impl Serialize for Shares {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, amount) in self.ranked() {
            map.serialize_entry(kind.name(), &amount)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Shares {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = std::collections::BTreeMap::<String, f64>::deserialize(deserializer)?;
        let mut shares = Self::default();
        for (name, amount) in named {
            let kind = Wait::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| D::Error::custom(format!("unknown kind of wait: `{name}`")))?;
            if !amount.is_finite() || amount < 0.0 {
                return Err(D::Error::custom(format!("share of `{name}` is not a share: {amount}")));
            }
            shares.add(kind, amount);
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranking_puts_the_largest_first_and_leaves_zeros_out() {
        let shares: Shares = [(Wait::Disk, 0.2), (Wait::Network, 0.7)].into_iter().collect();
        assert_eq!(shares.ranked(), [(Wait::Network, 0.7), (Wait::Disk, 0.2)]);
    }

    #[test]
    fn nothing_divides_into_nothing() {
        assert_eq!(Shares::default().normalised().total(), 0.0);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one(amounts in prop::array::uniform15(0.0_f64..1e6)) {
            prop_assume!(amounts.iter().sum::<f64>() > 0.0);
            prop_assert!((Shares(amounts).normalised().total() - 1.0).abs() < 1e-9);
        }
    }
}
