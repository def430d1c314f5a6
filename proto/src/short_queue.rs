//! A queue that needs no memory for one element: that of a reply never holds more.

use alloc::collections::VecDeque;

/// First in, first out. The first element lies in the queue itself.
#[derive(Debug)]
pub(crate) struct ShortQueue<T> {
    /// Nothing is in `rest` while nothing is here.
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> ShortQueue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            rest: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) const fn front(&self) -> Option<&T> {
        self.first.as_ref()
    }

    pub(crate) const fn front_mut(&mut self) -> Option<&mut T> {
        self.first.as_mut()
    }

    #[inline]
    pub(crate) fn push_back(&mut self, value: T) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.rest.push_back(value),
        }
    }

    pub(crate) fn push_front(&mut self, value: T) {
        if let Some(second) = self.first.replace(value) {
            self.rest.push_front(second);
        }
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        core::mem::replace(&mut self.first, self.rest.pop_front())
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<T> {
        match at.checked_sub(1) {
            None => self.pop_front(),
            Some(at) => self.rest.remove(at),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }
}

impl<T> IntoIterator for ShortQueue<T> {
    type Item = T;
    type IntoIter =
        core::iter::Chain<core::option::IntoIter<T>, alloc::collections::vec_deque::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_deque_does(
            steps in proptest::collection::vec((0u8..6, 0usize..4, any::<u16>()), 1..100),
        ) {
            let (mut queue, mut model) = (ShortQueue::new(), VecDeque::new());
            for (what, at, value) in steps {
                match what {
                    0 => prop_assert_eq!(queue.pop_front(), model.pop_front()),
                    1 => prop_assert_eq!(queue.remove(at), model.remove(at)),
                    2 => {
                        queue.push_front(value);
                        model.push_front(value);
                    }
                    _ => {
                        queue.push_back(value);
                        model.push_back(value);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.front(), model.front());
                prop_assert_eq!(queue.front_mut(), model.front_mut());
                prop_assert!(queue.iter().eq(&model));
            }
            let left: Vec<u16> = queue.into_iter().collect();
            prop_assert_eq!(left, Vec::from(model));
        }
    }
}
