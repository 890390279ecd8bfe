use super::*;

const HASH: ContentHash = ContentHash::from_bytes([0xab; 32]);

#[test]
fn names_beside_the_target() {
    let [first, second] = PartNames::candidates("movie.mp4".as_ref(), &HASH, 255);
    assert_eq!(first.part, "movie.mp4.part");
    assert_eq!(first.journal, "movie.mp4.part.journal");
    assert_eq!(second.part, "movie.mp4.abababab.part");
    assert_eq!(second.journal, "movie.mp4.abababab.part.journal");
}

#[test]
fn long_names_are_cut_and_stay_distinct() {
    for max in [255, 143] {
        for filler in ["x", "ü", "語"] {
            let name = filler.repeat(255 / filler.len());
            let names = PartNames::candidates(name.as_ref(), &HASH, max);
            for names in &names {
                assert!(names.next_journal.len() <= max, "{max} {filler}");
            }
            assert_eq!(names, PartNames::candidates(name.as_ref(), &HASH, max));
            let other = format!("{}-", &name[..name.len() - filler.len()]);
            assert_ne!(names, PartNames::candidates(other.as_ref(), &HASH, max));
        }
    }
}

#[test]
fn hints_become_harmless_names() {
    let check = |hint: &str, expected: &str| {
        assert_eq!(file_name_from_hint(hint, &HASH), expected, "{hint:?}");
    };
    check("movie.mp4", "movie.mp4");
    check("Übung 1 (final).txt", "Übung 1 (final).txt");
    check("../../etc/passwd", "_._.._etc_passwd");
    check("/etc/passwd", "_etc_passwd");
    check("a\0b\u{1b}[31mc\u{202e}gpj.exe", "a_b_[31mc_gpj.exe");
    check("C:\\Windows\\x", "C__Windows_x");
    check(".bashrc", "_bashrc");
    check("-rf", "_rf");
    check("CON", "_CON");
    check("com\u{b9}.txt", "_com\u{b9}.txt");
    check("name. . ", "name");
    let hash = HASH.to_string();
    for nothing in ["", ".", "..", "...", "///", " ", "\u{1b}"] {
        check(nothing, &hash);
    }
    let long = file_name_from_hint(&format!("{}.tar.gz", "ü".repeat(300)), &HASH);
    assert!(long.len() <= 255 && long.ends_with(".gz"), "{long}");
}

#[test]
fn no_hint_leaves_its_folder() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let alphabet = [
            '.', '/', '\\', '\0', '\n', 'a', ' ', '\u{202e}', ':', 'ü', '~', '-',
        ];
        let hint: String = (0..rng.usize(0..400))
            .map(|_| alphabet[rng.usize(..alphabet.len())])
            .collect();
        let name = file_name_from_hint(&hint, &HASH);
        assert!(!name.is_empty() && name.len() <= 255, "seed {seed}");
        let path = std::path::Path::new(&name);
        assert_eq!(path.file_name(), Some(name.as_ref()), "seed {seed}");
        assert!(
            crate::table::check_path(&name).is_ok() || !unicode_normalization::is_nfc(&name),
            "seed {seed}: {name:?}"
        );
    }
}
