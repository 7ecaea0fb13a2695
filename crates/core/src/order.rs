//! Sorting where it need not be fast. The standard library's sorts are compiled anew for every type and every order, 4 KiB each time; these
//! share one, and only the comparison and the moves are compiled anew.

use std::cmp::Ordering;

/// Sorts from least to greatest. Like all of these it keeps the order of equals.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// Sorts by what `key` gives for each item, which is asked for once.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let keys: Vec<K> = items.iter().map(key).collect();
    put(items, places(keys.len(), &|one, other| keys[one].cmp(&keys[other])));
}

/// Sorts as `compare` says.
pub fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let places = places(items.len(), &|one, other| compare(&items[one], &items[other]));
    put(items, places);
}

/// Puts to each place the item that stands at the place that is named for it.
fn put<T>(items: &mut [T], mut places: Vec<usize>) {
    for to in 0..items.len() {
        let mut from = places[to];
        // What stood before `to` has been swapped away, to where the item came from that stands there now.
        while from < to {
            from = places[from];
        }
        places[to] = from;
        items.swap(to, from);
    }
}

/// A sorted map or set of these items; of equals the last one counts. `collect` sorts them first, with a sort of its own for every iterator.
pub fn tree<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut tree = C::default();
    tree.extend(items);
    tree
}

/// Where the items stand that belong at each place.
fn places(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|one, other| compare(*one, *other));
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(items in prop::collection::vec((0_u8..9, 0_u8..3), 0..99)) {
            let (mut ours, mut theirs) = (items.clone(), items.clone());
            sort(&mut ours);
            theirs.sort_unstable();
            prop_assert_eq!(&ours, &theirs);

            // Equals in the order in which they came, which the second number tells.
            let (mut ours, mut theirs) = (items.clone(), items.clone());
            sort_by_key(&mut ours, |item| item.0);
            theirs.sort_by_key(|item| item.0);
            prop_assert_eq!(ours, theirs);

            let (mut ours, mut theirs) = (items.clone(), items);
            sort_by(&mut ours, |one, other| other.1.cmp(&one.1));
            theirs.sort_by_key(|item| std::cmp::Reverse(item.1));
            prop_assert_eq!(ours, theirs);
        }
    }
}
