// SPDX-License-Identifier: Apache-2.0
//! The queues of one topic, by broker name.

use aerobee_remoting::body::route::QueueData;

/// What each broker name has of a topic, sorted by name. Most topics are on few broker names, and there may be very many
/// topics: a row takes a tenth of the memory of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Queues(Vec<QueueData>);

impl Queues {
    fn place(&self, broker_name: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|queues| queues.broker_name.as_str().cmp(broker_name))
    }

    pub(super) fn get(&self, broker_name: &str) -> Option<&QueueData> {
        self.place(broker_name).ok().map(|at| &self.0[at])
    }

    pub(super) fn get_mut(&mut self, broker_name: &str) -> Option<&mut QueueData> {
        self.place(broker_name).ok().map(|at| &mut self.0[at])
    }

    pub(super) fn contains(&self, broker_name: &str) -> bool {
        self.place(broker_name).is_ok()
    }

    /// Puts queues in the place of those of their broker name.
    pub(super) fn put(&mut self, queues: QueueData) {
        match self.place(&queues.broker_name) {
            Ok(at) => self.0[at] = queues,
            Err(at) => {
                // Not room for four, as a row gets that grows by itself.
                self.0.reserve_exact(1);
                self.0.insert(at, queues);
            }
        }
    }

    /// Keeps what is on the broker names that `keeps` accepts.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&str) -> bool) {
        self.0.retain(|queues| keeps(&queues.broker_name));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by broker name.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, QueueData> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(broker_name: &str, perm: i32) -> QueueData {
        QueueData {
            broker_name: broker_name.to_owned(),
            perm,
            ..QueueData::default()
        }
    }

    #[test]
    fn each_broker_name_stands_once_and_in_order() {
        let mut queues = Queues::default();
        for (name, perm) in [("b", 1), ("c", 2), ("a", 3), ("b", 4)] {
            queues.put(of(name, perm));
        }
        let all: Vec<_> = queues
            .iter()
            .map(|data| (&*data.broker_name, data.perm))
            .collect();
        assert_eq!(all, [("a", 3), ("b", 4), ("c", 2)]);
        assert_eq!(queues.get("c"), Some(&of("c", 2)));
        assert!(queues.get("d").is_none() && !queues.contains("") && queues.contains("a"));
        queues.get_mut("a").unwrap().perm = 6;
        queues.retain(|name| name == "a");
        assert_eq!(queues.iter().collect::<Vec<_>>(), [&of("a", 6)]);
        queues.retain(|_| false);
        assert!(queues.is_empty());
    }
}
