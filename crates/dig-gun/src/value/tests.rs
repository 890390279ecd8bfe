use super::*;

#[test]
fn a_name_is_neither_empty_nor_endless() {
    assert_eq!(Soul::new(""), Err(InvalidName::Empty));
    assert_eq!(Key::new(""), Err(InvalidName::Empty));
    assert_eq!(Key::new("_"), Err(InvalidName::Reserved));
    assert!(Soul::new("_").is_ok());
    assert!(Soul::new(&"é".repeat(Soul::MAX_LEN / 2)).is_ok());
    assert_eq!(
        Soul::new(&"a".repeat(Soul::MAX_LEN + 1)),
        Err(InvalidName::TooLong)
    );
    assert_eq!(
        Key::new(&"a".repeat(Key::MAX_LEN + 1)),
        Err(InvalidName::TooLong)
    );
}

#[test]
fn numbers_and_states_are_finite_and_have_one_zero() {
    for not_finite in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Number::new(not_finite), None);
        assert_eq!(State::new(not_finite), None);
    }
    assert_eq!(State::new(-0.0).cmp(&State::new(0.0)), Ordering::Equal);
    assert!(Number::new(-0.0).unwrap().get().is_sign_positive());
    assert!(State::new(-1.0) < State::new(0.001));
}
