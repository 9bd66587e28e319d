// SPDX-License-Identifier: Apache-2.0
//! Requests that wait for their answers, found by opaque without a map.

/// First opaque of a load. All have ten digits, so that they can be patched in place in JSON.
pub(crate) const OPAQUE_MIN: i32 = 1_000_000_000;
const SPAN: i32 = 1_000_000_000;

/// The requests of one connection that wait for their answers, at most a window of them.
#[derive(Debug)]
pub(crate) struct InFlight<T> {
    slots: Vec<Option<(i32, T)>>,
    free: Vec<u32>,
    generation: i32,
}

impl<T> InFlight<T> {
    /// Room for `window` requests.
    pub(crate) fn new(window: u32) -> Self {
        Self {
            slots: (0..window).map(|_| None).collect(),
            free: (0..window).rev().collect(),
            generation: 0,
        }
    }

    /// Whether the window has room.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a place in the window for a request; its opaque tells an answer to it from one to an
    /// earlier request at the same place.
    pub(crate) fn begin(&mut self, request: T) -> Option<i32> {
        let slot = self.free.pop()?;
        let window = self.slots.len() as i32;
        self.generation = (self.generation + 1) % (SPAN / window);
        let opaque = OPAQUE_MIN + self.generation * window + slot as i32;
        self.slots[slot as usize] = Some((opaque, request));
        Some(opaque)
    }

    /// Replaces what is known of the requests that wait.
    pub(crate) fn restart(&mut self, request: T)
    where
        T: Clone,
    {
        for (_, waiting) in self.slots.iter_mut().flatten() {
            *waiting = request.clone();
        }
    }

    /// Gives the request that `opaque` answers and frees its place; nothing when none waits.
    pub(crate) fn end(&mut self, opaque: i32) -> Option<T> {
        let at = opaque.checked_sub(OPAQUE_MIN)?;
        if at < 0 || self.slots.is_empty() {
            return None;
        }
        let slot = at as usize % self.slots.len();
        let (_, request) = self.slots[slot].take_if(|(waiting, _)| *waiting == opaque)?;
        self.free.push(slot as u32);
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_any_order_find_their_requests() {
        let mut flights = InFlight::new(3);
        let opaques: Vec<i32> = (0..3).map(|n| flights.begin(n).unwrap()).collect();
        assert!(flights.begin(3).is_none());
        assert_eq!(flights.end(opaques[1]), Some(1));
        assert_eq!(flights.end(opaques[1]), None, "answered twice");
        let again = flights.begin(4).unwrap();
        assert_ne!(again, opaques[1], "the same place has a new opaque");
        assert_eq!(flights.end(opaques[2]), Some(2));
        assert_eq!(flights.end(again), Some(4));
        assert_eq!(flights.len(), 1);
    }

    #[test]
    fn strange_opaques_are_nobodys() {
        let mut flights = InFlight::new(2);
        flights.begin(()).unwrap();
        for opaque in [i32::MIN, -1, 0, 5, i32::MAX] {
            assert_eq!(flights.end(opaque), None);
        }
    }

    #[test]
    fn opaques_keep_ten_digits() {
        let mut flights = InFlight::new(64);
        flights.generation = SPAN / 64 - 2;
        for _ in 0..4 {
            let opaque = flights.begin(()).unwrap();
            assert_eq!(opaque.to_string().len(), 10);
            flights.end(opaque).unwrap();
        }
    }
}
