//! Divides a limited amount among several parties.

/// Returns the share of each party in `total`. Each party gets as much as it wants. If that is too
/// much for all, those that want most get equal shares (max-min fairness). What nobody wants is
/// divided evenly. The shares add up to the total; the first parties get what cannot be divided
/// evenly.
pub fn divide_fairly(total: u32, wanted: &[u32]) -> Vec<u32> {
    let mut shares = vec![0; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&party| (wanted.get(party).copied(), std::cmp::Reverse(party)));
    let mut left = total;
    let mut parties = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
    for party in order {
        let most = wanted.get(party).copied().unwrap_or(0).min(left / parties.max(1));
        // The remainder goes to the parties that come last in this order, which are the first in
        // `wanted`.
        if let Some(share) = shares.get_mut(party) {
            *share = most;
        }
        left -= most;
        parties -= 1;
    }
    let parties = u32::try_from(shares.len()).unwrap_or(u32::MAX).max(1);
    let (each, more) = (left / parties, left % parties);
    for (share, party) in shares.iter_mut().zip(0..) {
        *share += each + u32::from(party < more);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_party_gets_what_it_wants_or_an_equal_share() {
        assert_eq!(divide_fairly(10, &[10]), [10]);
        assert_eq!(divide_fairly(9, &[9, 9, 9]), [3, 3, 3]);
        assert_eq!(divide_fairly(1_000, &[1_000, 25, 25]), [950, 25, 25]);
        assert_eq!(divide_fairly(9, &[1, 8, 8]), [1, 4, 4]);
    }

    #[test]
    fn the_remainder_goes_to_the_first_that_want_it() {
        assert_eq!(divide_fairly(1, &[1, 1, 1]), [1, 0, 0]);
        assert_eq!(divide_fairly(1, &[0, 0, 1]), [0, 0, 1]);
        assert_eq!(divide_fairly(2, &[2, 2, 2]), [1, 1, 0]);
        assert_eq!(divide_fairly(5, &[5, 5, 5]), [2, 2, 1]);
    }

    #[test]
    fn the_unwanted_rest_is_divided_evenly() {
        assert_eq!(divide_fairly(1, &[0, 0, 0]), [1, 0, 0]);
        assert_eq!(divide_fairly(8, &[2, 0, 0]), [4, 2, 2]);
        assert!(divide_fairly(4, &[]).is_empty());
    }

    #[test]
    fn the_shares_add_up_to_the_total() {
        for total in 0..40 {
            for wanted in [[0, 0, 0], [1, 9, 40], [40, 40, 40], [7, 7, 1]] {
                assert_eq!(divide_fairly(total, &wanted).iter().sum::<u32>(), total, "{wanted:?}");
            }
        }
    }
}
